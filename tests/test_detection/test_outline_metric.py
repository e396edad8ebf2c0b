"""Masks where some objects, or all, have boxes alone."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations
from pycocotools import mask as coco_mask

from sparc_vlm.detection import CocoBoxes, OutlineMetric
from sparc_vlm.errors import UsageError

FILE = 'annotations/instances_train.json'


@pytest.fixture
def without(outlined, tmp_path):
    """Writes the drawn pictures, some objects without their outlines."""
    folder = shutil.copytree(outlined, tmp_path / 'data')
    content = json.loads((folder / FILE).read_text())

    def write(is_without):
        for row in content['annotations']:
            if is_without(row):
                del row['segmentation']
        (folder / FILE).write_text(json.dumps(content))
        return folder, content['annotations']

    return write


def boxes(folder):
    return CocoBoxes(
        data_root=str(folder),
        ann_file=FILE,
        data_prefix=dict(img='images_train'),
        pipeline=[
            LoadImageFromFile(),
            LoadAnnotations(with_bbox=True, with_mask=True),
        ],
    )


def test_an_object_without_an_outline_is_passed_over(without):
    first = []
    folder, rows = without(
        lambda row: row['iscrowd'] or not (first or first.append(row))
    )
    data = boxes(folder)
    ignored = [list(one['gt_ignore_flags']) for one in data]
    assert sum(map(sum, ignored)) == 2, 'the crowd, and the first'
    assert len(rows) == sum(map(len, ignored))
    for one in data:
        masks = one['gt_masks'].masks.any((1, 2))
        assert masks.all()


def test_a_crowd_is_measured_by_its_box(without):
    folder, rows = without(lambda row: row['iscrowd'])
    metric = OutlineMetric(str(folder / FILE), metric=['bbox', 'segm'])
    (crowd,) = (row for row in rows if row['iscrowd'])
    coco = metric._coco_api
    mask = coco_mask.decode(coco.annToRLE(coco.anns[crowd['id']]))
    x, y, width, height = (round(side) for side in crowd['bbox'])
    expected = np.zeros_like(mask)
    expected[y : y + height, x : x + width] = 1
    assert np.array_equal(mask, expected)


def test_outlines_are_left_as_they_are(outlined):
    metric = OutlineMetric(str(outlined / FILE), metric=['bbox', 'segm'])
    content = json.loads((outlined / FILE).read_text())
    assert metric._coco_api.dataset == content


def test_a_file_of_boxes_is_refused_before_any_work(without):
    folder, _ = without(lambda row: True)
    with pytest.raises(UsageError, match='boxes only, and the pipeline'):
        boxes(folder)
    with pytest.raises(UsageError, match="leave 'segm' out"):
        OutlineMetric(ann_file=str(folder / FILE), metric=['bbox', 'segm'])
    OutlineMetric(ann_file=str(folder / FILE))
