"""Average precision by pycocotools and by lvis, and what was matched.

Both libraries match each picture's detections with its objects and add up.
Their numbers are taken as they are; what they matched is kept, small, so that
the numbers can be found for other draws of the same pictures.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sparc_vlm.errors import MissingPackageError
from sparc_vlm.evaluation.average_precision import THRESHOLDS, part_of

Areas = Mapping[str, tuple[float, float]]
AREAS: Areas = {
    'small': (0, 32**2),
    'medium': (32**2, 96**2),
    'large': (96**2, 1e10),
}
"""COCO's, in pixels of the annotated pictures."""
EVERY_SIZE = (0, 1e10)
OVERLAPS = {'boxes': 'bbox', 'masks': 'segm'}
FREQUENCIES = {'rare': 'r', 'common': 'c', 'frequent': 'f'}
IGNORED = 2 ** len(THRESHOLDS) - 1


@dataclass(frozen=True)
class Score:
    """What a library has found.

    Attributes:
        precision: (T, R, K, A) at each overlap, recall, class and range of
            areas, 'all' first; -1 where a class has no object.
        matched: Of each picture by its id, what `precision_scores` reads.
    """

    precision: np.ndarray
    matched: dict[int, dict[str, Any]]

    def metrics(
        self,
        names: Iterable[str],
        areas: Iterable[str],
        groups: Mapping[str, Sequence[int]],
    ) -> dict[str, float]:
        """Metrics in percent; one of no object is left out.

        Args:
            names: As `part_of` takes them.
            areas: Names of the ranges, as they were scored.
            groups: Places of classes, by name.
        """
        ranges = ['all', *areas]
        found = {}
        for name in names:
            part = part_of(name, groups)
            chosen = self.precision[list(part.thresholds)]
            chosen = chosen[..., ranges.index(part.area)]
            if part.group is not None:
                chosen = chosen[..., list(groups[part.group])]
            if (chosen > -1).any():
                found[name] = 100 * float(chosen[chosen > -1].mean())
        return found


def sized_by(truth: dict[str, Any], kind: str) -> dict[str, Any]:
    """The same objects, whose areas are those of their boxes or masks.

    Files give the area of an object's mask as a rule, which is smaller than
    that of its box: a box that is found would be measured by another yard
    than the one it is to find.

    Args:
        truth: The content of an annotation file in COCO's layout.
        kind: 'boxes' or 'masks'; with masks every object has one.
    """
    library = COCO()
    library.imgs = {row['id']: row for row in truth['images']}

    def area(row: dict[str, Any]) -> float:
        if kind == 'boxes':
            return row['bbox'][2] * row['bbox'][3]
        return float(coco_mask.area(library.annToRLE(row)))

    objects = [{**row, 'area': area(row)} for row in truth['annotations']]
    return {**truth, 'annotations': objects}


def score_coco(
    truth: dict[str, Any],
    found: list[dict[str, Any]],
    kind: str,
    limit: int,
    areas: Areas,
) -> Score:
    """As pycocotools scores.

    Args:
        truth: The content of an annotation file in COCO's layout.
        found: Detections as pycocotools takes them, each with its `id`, the
            best of a picture first.
        kind: 'boxes' or 'masks'.
        limit: Detections of a class that count on a picture.
        areas: Ranges that are scored by themselves.
    """
    with redirect_stdout(io.StringIO()):
        objects, detections = COCO(), COCO()
        objects.dataset = truth
        detections.dataset = {**truth, 'annotations': found}
        for half in (objects, detections):
            half.createIndex()
        run = COCOeval(objects, detections, OVERLAPS[kind])
        run.params.iouThrs = THRESHOLDS
        run.params.maxDets = [1, 10, limit]
        run.params.areaRng = [EVERY_SIZE, *areas.values()]
        run.params.areaRngLbl = ['all', *areas]
        run.evaluate()
        run.accumulate()
    pairs = [_in_lvis_words(pair) for pair in run.evalImgs if pair is not None]
    matched = _matched(truth, found, pairs, run.params.areaRng, areas)
    return Score(run.eval['precision'][..., -1], matched)


def score_lvis(
    truth: dict[str, Any],
    found: list[dict[str, Any]],
    kind: str,
    limit: int,
    areas: Areas,
) -> Score:
    """As lvis scores: what nobody has looked for counts neither way.

    Args:
        truth: The content of an annotation file in LVIS's layout.
        found: As `score_coco`; `limit` of them on a picture, of all classes.
        kind: 'boxes' or 'masks'.
        limit: Is kept by whoever has found them.
        areas: Ranges that are scored by themselves.

    Raises:
        MissingPackageError: lvis is not installed.
    """
    try:
        from lvis import LVIS, LVISEval, LVISResults
    except ImportError as error:
        raise MissingPackageError(
            "lvis is not installed: pip install 'sparc_vlm[detection]'"
        ) from error
    halves = []
    for library, rows in (
        (LVIS, truth['annotations']),
        (LVISResults, found),
    ):
        # They read files, and fail where nothing was found.
        half = library.__new__(library)
        half.logger = logging.getLogger('lvis')
        half.dataset = {**truth, 'annotations': rows}
        half._create_index()
        halves.append(half)
    run = LVISEval(*halves, OVERLAPS[kind])
    run.params.iou_thrs = THRESHOLDS
    run.params.area_rng = [EVERY_SIZE, *areas.values()]
    run.params.area_rng_lbl = ['all', *areas]
    run.evaluate()
    run.accumulate()
    pairs = [pair for pair in run.eval_imgs if pair is not None]
    matched = _matched(truth, found, pairs, run.params.area_rng, areas)
    return Score(run.eval['precision'], matched)


def _in_lvis_words(pair: dict[str, Any]) -> dict[str, Any]:
    """What COCO knows of a picture and a class, under the names of LVIS."""
    return {
        'image_id': pair['image_id'],
        'category_id': pair['category_id'],
        'area_rng': pair['aRng'],
        'dt_ids': pair['dtIds'],
        'dt_matches': pair['dtMatches'],
        'dt_ignore': pair['dtIgnore'],
        'gt_ignore': pair['gtIgnore'],
    }


def _matched(
    truth: dict[str, Any],
    found: list[dict[str, Any]],
    pairs: Iterable[dict[str, Any]],
    ranges: Sequence[tuple[float, float]],
    areas: Areas,
) -> dict[int, dict[str, Any]]:
    """By picture: what each detection is right at, and what there was.

    What is right or does not count at the overlaps is a number, a bit each.
    A detection that a library has left out does not count.
    """
    labels = {row['id']: at for at, row in enumerate(truth['categories'])}
    names = dict(zip(ranges, ('all', *areas), strict=True))
    bits = 1 << np.arange(len(THRESHOLDS))
    sheets: dict[int, dict[str, Any]] = {
        row['id']: {
            'labels': [],
            'scores': [],
            'right': {name: [] for name in names.values()},
            'ignored': {name: [] for name in names.values()},
            'objects': {name: [] for name in names.values()},
        }
        for row in truth['images']
    }
    place = {}
    for detection in found:
        sheet = sheets[detection['image_id']]
        place[detection['id']] = len(sheet['labels'])
        sheet['labels'].append(labels[detection['category_id']])
        sheet['scores'].append(detection['score'])
        for name in names.values():
            sheet['right'][name].append(0)
            sheet['ignored'][name].append(IGNORED)
    for pair in pairs:
        sheet, name = sheets[pair['image_id']], names[pair['area_rng']]
        label = labels[pair['category_id']]
        objects = int((np.asarray(pair['gt_ignore']) == 0).sum())
        sheet['objects'][name] += [label] * objects
        ignored = np.asarray(pair['dt_ignore'], bool)
        right = np.asarray(pair['dt_matches'], bool) & ~ignored
        for column, number in enumerate(pair['dt_ids']):
            at = place[number]
            sheet['right'][name][at] = int(bits @ right[:, column])
            sheet['ignored'][name][at] = int(bits @ ignored[:, column])
    return sheets
