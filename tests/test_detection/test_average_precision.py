"""Numbers of the libraries, and the same from what is kept of each picture.

The slow twin of a draw of pictures is a file in which they are several times.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
from lvis import LVISEval
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sparc_vlm.detection.scoring import AREAS, score_coco, score_lvis
from sparc_vlm.evaluation.average_precision import precision_scores
from tests.test_detection.made_boxes import CLASSES, Seer, made_truth, outline

NAMES = [f'ap{part}' for part in ('', '50', '75', *(f'_{a}' for a in AREAS))]
GROUPS = {'rare': [3], 'frequent': [0, 1, 2]}


class Number:
    """A picture of which only the number matters."""

    def __init__(self, number):
        self.number = number

    def getpixel(self, place):
        return (self.number, 0, 0)


def found_on(truth, seed=0):
    """What the seer finds, as the libraries take it."""
    seer, rows = Seer(truth, seed), []
    for image in truth['images']:
        (found,) = seer.detect([Number(image['id'])], list(CLASSES))
        for box, score, label, mask in zip(
            found.boxes.tolist(),
            found.scores.tolist(),
            found.labels.tolist(),
            found.masks,
            strict=True,
        ):
            x1, y1, x2, y2 = box
            rows.append(
                {
                    'id': len(rows) + 1,
                    'image_id': image['id'],
                    'category_id': 10 * (label + 1),
                    'bbox': [x1, y1, x2 - x1, y2 - y1],
                    'area': (x2 - x1) * (y2 - y1),
                    'score': score,
                    'iscrowd': 0,
                    'segmentation': mask,
                }
            )
    return rows


def judged(truth):
    """A file in LVIS's layout: not all was looked for everywhere."""
    letters = dict(zip((10, 20, 30, 40), 'fffr', strict=True))
    there = {(o['image_id'], o['category_id']) for o in truth['annotations']}
    return {
        'annotations': [dict(o, ignore=0) for o in truth['annotations']],
        'categories': [
            dict(row, frequency=letters[row['id']])
            for row in truth['categories']
        ],
        'images': [
            dict(
                row,
                neg_category_ids=[
                    kind
                    for kind in letters
                    if (row['id'], kind) not in there and kind != 20
                ],
                not_exhaustive_category_ids=[30] * (row['id'] % 2),
            )
            for row in truth['images']
        ],
    }


def copied(truth, found, counts):
    """The file and what was found with each picture so many times."""
    images, objects, detections = [], [], []
    for row, count in zip(truth['images'], counts, strict=True):
        for _ in range(int(count)):
            image = len(images) + 1
            images.append(dict(row, id=image))
            for many, own in (
                (objects, truth['annotations']),
                (detections, found),
            ):
                many += [
                    dict(part, image_id=image, id=len(many) + place)
                    for place, part in enumerate(
                        (o for o in own if o['image_id'] == row['id']), 1
                    )
                ]
    return dict(truth, images=images, annotations=objects), detections


@pytest.fixture(scope='module')
def truth():
    return made_truth(12)


@pytest.mark.parametrize('kind', ['boxes', 'masks'])
def test_numbers_of_pycocotools(truth, kind):
    """As its own summary has them."""
    found = found_on(truth)
    if kind == 'boxes':
        for row in found:
            del row['segmentation']
    scored = score_coco(truth, found, kind, 100, AREAS)
    start = 'mask_' if kind == 'masks' else ''
    ours = scored.metrics([start + name for name in NAMES], AREAS, {})
    with redirect_stdout(io.StringIO()):
        library = COCO()
        library.dataset = truth
        library.createIndex()
        results = [
            {k: v for k, v in row.items() if kind == 'boxes' or k != 'bbox'}
            for row in found
        ]
        overlap = {'boxes': 'bbox', 'masks': 'segm'}[kind]
        run = COCOeval(library, library.loadRes(results), overlap)
        run.evaluate()
        run.accumulate()
        run.summarize()
    assert list(ours.values()) == pytest.approx((100 * run.stats[:6]).tolist())
    assert all(0 < value < 100 for value in ours.values())


def test_numbers_of_lvis(truth, tmp_path):
    """As it reads them from a file."""
    found = found_on(truth)
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(judged(truth)))
    library = LVISEval(str(path), [dict(row) for row in found], 'bbox')
    library.run()
    scored = score_lvis(judged(truth), found, 'boxes', 300, AREAS)
    names = [*NAMES, 'ap_rare', 'ap_frequent']
    ours = scored.metrics(names, AREAS, GROUPS)
    keys = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APf')
    expected = [100 * library.results[key] for key in keys]
    assert list(ours.values()) == pytest.approx(expected)
    # What nobody looked for is no mistake.
    plain = score_coco(truth, found, 'boxes', 100, AREAS)
    assert plain.metrics(['ap'], AREAS, {})['ap'] < ours['ap']


DRAWS = [
    [1] * 12,
    [2, 0, 1, 1, 0, 3, 1, 0, 2, 1, 1, 0],
    [0, 4, 0, 1, 3, 0, 0, 2, 0, 0, 1, 1],
]


@pytest.mark.parametrize('score', [score_coco, score_lvis])
@pytest.mark.parametrize('kind', ['boxes', 'masks'])
def test_draws_of_pictures(truth, score, kind):
    """Added up again from what is kept, and by the library from a file."""
    given = truth if score is score_coco else judged(truth)
    found = found_on(truth)
    scored = score(given, found, kind, 100, AREAS)
    samples = [{kind: scored.matched[r['id']]} for r in given['images']]
    start = 'mask_' if kind == 'masks' else ''
    names = [start + name for name in (*NAMES, 'ap_rare', 'ap_frequent')]
    for counts in DRAWS:
        twin = score(*copied(given, found, counts), kind, 100, AREAS)
        expected = twin.metrics(names, AREAS, GROUPS)
        for name in names:
            scores = precision_scores(name, [{'groups': GROUPS}], [samples])
            (ours,) = scores.metrics(np.array([counts], float))[0]
            assert ours == pytest.approx(
                expected.get(name, np.nan), nan_ok=True
            )


@pytest.mark.parametrize('score', [score_coco, score_lvis])
def test_nothing_found_and_nothing_there(truth, score):
    given = truth if score is score_coco else judged(truth)
    nothing = score(given, [], 'boxes', 100, AREAS).metrics(NAMES, AREAS, {})
    assert list(nothing) == NAMES
    assert set(nothing.values()) == {0}
    empty = dict(given, annotations=[])
    found = found_on(truth)[:5]
    assert (
        score(empty, found, 'boxes', 100, AREAS).metrics(NAMES, AREAS, {})
        == {}
    )


def test_limits_of_areas_are_the_callers(truth):
    found = found_on(truth)
    areas = {'tiny': (0, 30**2), 'huge': (30**2, 1e10)}
    scored = score_coco(truth, found, 'boxes', 100, areas)
    sheets = scored.matched.values()
    assert all(list(s['objects']) == ['all', 'tiny', 'huge'] for s in sheets)
    counted = [
        sum(len(sheet['objects'][name]) for sheet in sheets)
        for name in ('all', 'tiny', 'huge')
    ]
    assert counted[0] == counted[1] + counted[2]
    small = sum(
        row['area'] < 900 and not row['iscrowd']
        for row in truth['annotations']
    )
    assert counted[1] == small > 0


def test_outlines_are_not_boxes():
    """So that masks are scored by their own overlap."""
    assert outline([10, 10, 60, 60])['size'] == [200, 200]
    truth = made_truth(6, seed=3, crowds=False)
    found = [
        dict(row, score=0.9, segmentation=outline([0, 0, 9, 9]))
        for row in truth['annotations']
    ]
    boxes = score_coco(truth, found, 'boxes', 100, AREAS)
    masks = score_coco(truth, found, 'masks', 100, AREAS)
    assert boxes.metrics(['ap'], AREAS, {})['ap'] == pytest.approx(100)
    assert masks.metrics(['mask_ap'], AREAS, {})['mask_ap'] == 0
