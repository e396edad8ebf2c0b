"""Average precision of detections, pictures drawn anew.

The libraries that score COCO and LVIS match detections with objects picture
by picture, then add up. Tasks keep what was matched with each picture, so
that a draw of pictures only has to be added up again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps from which on a detection counts as right."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read, as both libraries do it."""
DRAWS = 200
"""As many as take seconds; the ends of an interval vary by a twentieth of
its length or so."""
MASKS = 'mask_'


@dataclass(frozen=True)
class Part:
    """What of all that was matched a metric is about.

    Attributes:
        kind: 'boxes' or 'masks', the key in a sample.
        area: 'all', or the name of a range of areas.
        group: Name of a group of classes; None takes all.
        thresholds: Places in `THRESHOLDS`.
    """

    kind: str
    area: str = 'all'
    group: str | None = None
    thresholds: tuple[int, ...] = tuple(range(len(THRESHOLDS)))


def part_of(metric: str, groups: Mapping[str, Any]) -> Part:
    """What a metric is about.

    Args:
        metric: 'ap', 'ap50', 'ap75', 'ap_AREA' or 'ap_GROUP', for masks with
            'mask_' before it.
        groups: Of classes, by name.
    """
    kind = 'masks' if metric.startswith(MASKS) else 'boxes'
    name = metric.removeprefix(MASKS).removeprefix('ap')
    if name.isdigit():
        place = int(np.abs(100 * THRESHOLDS - int(name)).argmin())
        return Part(kind, thresholds=(place,))
    name = name.removeprefix('_')
    if name in groups:
        return Part(kind, group=name)
    return Part(kind, area=name or 'all')


@dataclass(frozen=True)
class ClassMatches:
    """All detections of a class, the highest scores first.

    Attributes:
        image: (D,) which picture each is on.
        right: (T, D) bool, whether it has an object of its own.
        counted: (T, D) bool, whether it counts at all.
        objects: (N,) how many objects each picture has.
    """

    image: np.ndarray
    right: np.ndarray
    counted: np.ndarray
    objects: np.ndarray

    def precision(self, counts: np.ndarray) -> np.ndarray:
        """Average precision for pictures taken so many times.

        Args:
            counts: (N, B) float32 whole numbers.

        Returns:
            (B,) between 0 and 1; NaN where no object was drawn.
        """
        objects = self.objects @ counts
        total = np.zeros(counts.shape[1])
        hits = np.flatnonzero(self.right.any(0))
        if len(hits):
            # What comes after the last right one changes nothing.
            kept = np.flatnonzero(self.counted[:, : hits[-1] + 1].any(0))
            weights = counts[self.image[kept]]
            seen = weights.cumsum(0)
            for right, counted in zip(
                self.right[:, kept], self.counted[:, kept], strict=True
            ):
                total += _area_below(weights, seen, right, counted, objects)
        with np.errstate(invalid='ignore'):
            return np.where(objects > 0, total / len(self.right), np.nan)

    def at(self, rows: Sequence[int]) -> ClassMatches:
        """The same of some of the pictures, in that order."""
        place = np.full(len(self.objects), -1)
        place[rows] = np.arange(len(rows))
        there = place[self.image] >= 0
        return ClassMatches(
            place[self.image[there]],
            self.right[:, there],
            self.counted[:, there],
            self.objects[rows],
        )


@dataclass(frozen=True)
class PrecisionScores:
    """What `Scores` is for means, for average precision in percent.

    Attributes:
        matches: Of each seed, the classes that have an object.
        samples: Pictures that it was measured on.
        draws: See `DRAWS`.
        is_mean: It is not: an object that is there twice is found twice.
    """

    matches: list[list[ClassMatches]]
    samples: int
    draws: int = DRAWS
    is_mean: ClassVar[bool] = False

    @property
    def seeds(self) -> int:
        """Seeds that the model was trained with."""
        return len(self.matches)

    def metrics(self, counts: np.ndarray) -> np.ndarray:
        """The metric of each seed, for pictures drawn so many times.

        A class of which no object was drawn is left out of that draw.

        Args:
            counts: (B, N), how often each picture is taken.

        Returns:
            (B, S) in percent; NaN where no object was drawn.
        """
        taken = np.ascontiguousarray(counts.T, dtype=np.float32)
        found = np.full((len(counts), self.seeds), np.nan)
        for seed, classes in enumerate(self.matches):
            each = np.stack([own.precision(taken) for own in classes])
            there = np.isfinite(each)
            total = np.where(there, each, 0.0).sum(0)
            with np.errstate(invalid='ignore'):
                found[:, seed] = 100 * total / there.sum(0)
        return found

    def at(self, rows: Sequence[int]) -> PrecisionScores:
        """The same of some of the pictures, in that order."""
        matches = [[own.at(rows) for own in seed] for seed in self.matches]
        return PrecisionScores(matches, len(rows), self.draws)


def precision_scores(
    metric: str,
    results: Sequence[Mapping[str, Any]],
    pictures: Sequence[Sequence[Mapping[str, Any]]],
) -> PrecisionScores | None:
    """A metric's scores, from what was matched on each picture.

    Args:
        metric: Name of the metric, see `part_of`.
        results: What a task found, at each seed; `groups` of classes is
            read.
        pictures: Samples of the same N pictures, at each seed.

    Returns:
        None where the samples do not have what the metric needs.
    """
    groups = results[0].get('groups') or {}
    part = part_of(metric, groups)
    for own in pictures:
        if not all(
            part.area in s.get(part.kind, {}).get('right', ()) for s in own
        ):
            return None
    chosen = groups[part.group] if part.group else None
    matches = [_matches(own, part, chosen) for own in pictures]
    if not all(matches):
        return None
    return PrecisionScores(matches, len(pictures[0]))


def _matches(
    samples: Sequence[Mapping[str, Any]],
    part: Part,
    chosen: Sequence[int] | None,
) -> list[ClassMatches]:
    """By class, of the classes that have an object that counts."""
    found = [sample[part.kind] for sample in samples]
    image = np.repeat(
        np.arange(len(found)), [len(own['scores']) for own in found]
    )
    label = _joined([own['labels'] for own in found], int)
    score = _joined([own['scores'] for own in found], float)
    right = _joined([own['right'][part.area] for own in found], int)
    ignored = _joined([own['ignored'][part.area] for own in found], int)
    # Equal scores stay in the order of the pictures, as in both libraries.
    order = np.argsort(-score, kind='stable')
    bits = 1 << np.array(part.thresholds)[:, None]
    objects = [own['objects'][part.area] for own in found]
    kinds = sorted({kind for own in objects for kind in own})
    matches = []
    for kind in kinds:
        if chosen is not None and kind not in chosen:
            continue
        own = order[label[order] == kind]
        matches.append(
            ClassMatches(
                image[own],
                right[own] & bits > 0,
                ignored[own] & bits == 0,
                np.array([there.count(kind) for there in objects], np.float32),
            )
        )
    return matches


def _joined(lists: Sequence[Sequence[float]], kind: type) -> np.ndarray:
    return np.concatenate([np.asarray(part, kind) for part in lists])


def _area_below(
    weights: np.ndarray,
    seen: np.ndarray,
    right: np.ndarray,
    counted: np.ndarray,
    objects: np.ndarray,
) -> np.ndarray:
    """Mean over `RECALLS` of the highest precision at that recall or above.

    Recall and the highest precision change at right detections only, so no
    other is looked at.

    Args:
        weights: (D, B) how often each detection was drawn.
        seen: (D, B) sum of the weights so far.
        right: (D,) bool.
        counted: (D,) bool.
        objects: (B,) how many there are to find.

    Returns:
        (B,); anything where there are none.
    """
    hits, left_out = np.flatnonzero(right), np.flatnonzero(~counted)
    if not len(hits):
        return np.zeros(len(objects))
    total = seen[hits].astype(float)
    if len(left_out):
        sums = weights[left_out].cumsum(0)
        before = np.searchsorted(left_out, hits)
        total[before > 0] -= sums[before[before > 0] - 1]
    found = weights[hits].cumsum(0).astype(float)
    with np.errstate(invalid='ignore', divide='ignore'):
        precision = np.nan_to_num(found / total)
        recall = np.nan_to_num(found / objects)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(RECALLS, recall, side='right')
    steps = np.diff(reached, axis=0, prepend=0)
    return (highest * steps).sum(0) / len(RECALLS)
