"""What tasks on boxes share: finding them, scoring them, what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from sparc_vlm.datasets.readers.listed import Images
from sparc_vlm.detection.detector import Detections
from sparc_vlm.detection.scoring import AREAS, Areas, Score, sized_by
from sparc_vlm.detection.tasks.annotated import AnnotatedBoxes
from sparc_vlm.detection.words.vocabulary import as_words
from sparc_vlm.engine.config_error import nearest
from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.average_precision import MASKS
from sparc_vlm.evaluation.encoding import own_pictures
from sparc_vlm.evaluation.task import Progress, Task, TaskResult

Scorer = Callable[[dict[str, Any], list[dict], str, int, Areas], Score]
Groups = Mapping[str, Sequence[int]]
DIGITS = 6
"""Significant digits of a score, before it is ranked and when it is kept."""


@dataclass(frozen=True)
class DetectionResult(TaskResult):
    """What a task on boxes found.

    Attributes:
        classes: Their names; samples have places in these.
        groups: Places of the classes of each group, such as 'rare'.
    """

    classes: list[str] = field(default_factory=list)
    groups: dict[str, list[int]] = field(default_factory=dict)


class DetectionTask(Task):
    """Base of the tasks that measure detectors.

    Args:
        annotations: A file in COCO's or LVIS's layout.
        images: Folder, zip or tar of its pictures.
        masks: Whether to measure masks too.
        name: The first part of the task's keys in a log.
        batch_size: Pictures that are looked at at a time.
        max_images: Measures on at most so many pictures.
        limit: Detections that are kept of a picture.
        areas: Ranges of areas in pixels of the annotated pictures, by name;
            an object's area is then that of what is scored, its box or its
            mask, as a detection's is. None takes COCO's ranges, and the areas
            that the file gives, as COCO does.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The file is not in that layout, has objects without
            masks where these are measured, or a number makes no sense.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: Images,
        masks: bool = False,
        name: str = 'box_ap',
        batch_size: int = 16,
        max_images: int | None = None,
        limit: int = 100,
        areas: Areas | None = None,
    ) -> None:
        source = AnnotatedBoxes(annotations, images)
        super().__init__(source, name, batch_size, max_images)
        if masks and not source.has_masks:
            raise UsageError(
                f'{name}: {annotations} has objects without masks: leave '
                'masks=True out'
            )
        if limit < 1:
            raise UsageError(f'{name}: limit must be at least 1, got {limit}')
        self.masks = masks
        self.limit = limit
        self.areas = _checked(AREAS if areas is None else areas, name)
        self._areas_are_own = areas is not None

    def find_and_score(
        self,
        model: Any,
        score: Scorer,
        truth: Callable[[Sequence[int]], dict[str, Any]],
        groups: Groups,
        progress: Progress | None,
    ) -> DetectionResult:
        """Has a detector look at all pictures, and scores what it found.

        A sample is a picture: its `key`; `corners`, x1, y1, x2, y2 of what
        was found on it; and under 'boxes', and 'masks' where these are
        measured, what `precision_scores` reads.

        Args:
            model: Has `detect`, `classes` and `takes_words`.
            score: `score_coco` or `score_lvis`.
            truth: What there is on pictures of these indices.
            groups: Of classes, which get metrics of their own.
            progress: Told after each chunk how far the work has come.

        Raises:
            ValueError: The model finds no boxes, or no masks where these are
                measured, or does not know a class; or no picture can be
                read.
        """
        rows: dict[int, list[dict[str, Any]]] = {}
        broken: dict[int, str] = {}
        for index, found in self._found(model, broken, progress):
            rows[index] = [
                _row(self.source, index, found, place)
                for place in range(len(found))
            ]
        every = [row for own in rows.values() for row in own]
        for number, row in enumerate(every, 1):
            row['id'] = number
        there = truth(list(rows))
        metrics: dict[str, float] = {}
        samples = {
            index: {
                'key': self.source.key(index),
                'corners': [_corners(row['bbox']) for row in own],
            }
            for index, own in rows.items()
        }
        parts = [f'ap_{part}' for part in (*self.areas, *groups)]
        for kind in ('boxes', 'masks') if self.masks else ('boxes',):
            found = [_of_kind(row, kind) for row in every]
            judged = sized_by(there, kind) if self._areas_are_own else there
            scored = score(judged, found, kind, self.limit, self.areas)
            start = MASKS if kind == 'masks' else ''
            names = [start + name for name in ('ap', 'ap50', 'ap75', *parts)]
            metrics |= scored.metrics(names, self.areas, groups)
            for index, sample in samples.items():
                sample[kind] = scored.matched[self.source.ids[index]]
        skipped = {'broken pictures': len(broken)}
        return DetectionResult(
            self.name,
            metrics,
            list(samples.values()),
            skipped=self.report_skipped(skipped, broken),
            classes=self.source.classes,
            groups={name: list(own) for name, own in groups.items()},
        )

    def _found(
        self, model: Any, broken: dict[int, str], progress: Progress | None
    ) -> Iterator[tuple[int, Detections]]:
        """Index of each picture that can be read, and what is found on it.

        Labels are places in the classes of the task; others are left out.
        """
        words, places = self._queries(model)
        for indices, pictures in own_pictures(self, broken, progress):
            found = model.detect(pictures, words, self.limit)
            for index, own in zip(indices, found, strict=True):
                if not own.scores.isfinite().all():
                    raise UsageError(
                        f'{self.name}: the detector gives scores that are no '
                        'numbers; its training has failed'
                    )
                if self.masks and own.masks is None:
                    raise UsageError(
                        f'{self.name}: the detector finds no masks: leave '
                        'masks=True out'
                    )
                yield index, own.relabelled(places)

    def _queries(self, model: Any) -> tuple[list[str] | None, list[int]]:
        """Words to ask for, if any, and the class of each of the labels."""
        classes = self.source.classes
        if not hasattr(model, 'detect'):
            raise UsageError(
                f'{self.name}: {type(model).__name__} finds no boxes: name '
                'the model folder of a detector'
            )
        if model.takes_words:
            return as_words(classes), list(range(len(classes)))
        for name in classes:
            if name not in model.classes:
                raise UsageError(
                    f'{self.name}: a detector is measured on the classes '
                    f'that it was trained to find, and this one has no {name}'
                    f'{nearest(name, model.classes)}'
                )
        known = {name: place for place, name in enumerate(classes)}
        return None, [known.get(name, -1) for name in model.classes]


def _checked(areas: Areas, task: str) -> dict[str, tuple]:
    """Ranges of areas, as the libraries want them.

    Raises:
        ValueError: One is empty, or is called as all areas together are.
    """
    for name, ends in areas.items():
        if len(ends) != 2 or not ends[0] < ends[1]:
            raise UsageError(
                f'{task}: the areas of {name} must be two numbers, the '
                f'smaller one first, got {list(ends)}'
            )
        if name == 'all':
            raise UsageError(f"{task}: give the areas 'all' another name")
    return {name: tuple(ends) for name, ends in areas.items()}


def _row(
    source: Any, index: int, found: Detections, place: int
) -> dict[str, Any]:
    """A detection as pycocotools and lvis take it."""
    x1, y1, x2, y2 = found.boxes[place].tolist()
    width, height = x2 - x1, y2 - y1
    row = {
        'image_id': source.ids[index],
        'category_id': source.categories[int(found.labels[place])]['id'],
        'score': float(f'{float(found.scores[place]):.{DIGITS}g}'),
        'bbox': [x1, y1, width, height],
        'area': width * height,
        'iscrowd': 0,
    }
    if found.masks is not None:
        row['segmentation'] = found.masks[place]
    return row


def _of_kind(row: dict[str, Any], kind: str) -> dict[str, Any]:
    """A detection as a box or as a mask, whose area is another."""
    if kind == 'boxes':
        return {k: v for k, v in row.items() if k != 'segmentation'}
    return {**row, 'area': float(coco_mask.area(row['segmentation']))}


def _corners(box: list[float]) -> list[float]:
    """x1, y1, x2, y2 to a hundredth of a pixel."""
    x, y, width, height = box
    return [round(at, 2) for at in (x, y, x + width, y + height)]
