"""From files in the official formats to mIoU, worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from sparc_vlm.datasets import CocoInstances, CocoPanoptic, PascalVoc
from sparc_vlm.evaluation import Segmentation
from tests.test_evaluation.colour_world import (
    NOUNS,
    Board,
    Boards,
    ColourModel,
)

# What the picture shows, in cells of 8 pixels.
CELLS = [['ruby', 'ruby', 'sea'], ['sun', 'sea', 'sea']]
VOC = {'aeroplane': 'ruby', 'boat': 'sea'}


def write_picture(path):
    """A PNG by any name, as a JPEG would blur the cells."""
    path.parent.mkdir(parents=True)
    Boards([Board(CELLS, [])]).image(0).save(path, 'PNG')


def check(result, miou, miou_all):
    assert result.metrics['miou_fg'] == pytest.approx(miou)
    assert result.metrics['miou_fg_all'] == pytest.approx(miou_all)


class VocModel(ColourModel):
    """Calls the colours by the names of two of VOC's classes."""

    def encode_text(self, texts):
        for ours, theirs in VOC.items():
            texts = [text.replace(ours, theirs) for text in texts]
        return super().encode_text(texts)


def test_voc(tmp_path):
    """The map has a boat where one ruby is; nothing is said of the sun.

    Aeroplane: 1 of the 2 cells that are called so is one. Boat: 3 of its 4
    cells are called so. Among the two as among all, the model says what it
    sees.
    """
    write_picture(tmp_path / 'JPEGImages/1.jpg')
    (tmp_path / 'ImageSets/Segmentation').mkdir(parents=True)
    (tmp_path / 'ImageSets/Segmentation/val.txt').write_text('1\n2\n')
    (tmp_path / 'JPEGImages/2.jpg').write_bytes(b'cut off')
    (tmp_path / 'SegmentationClass').mkdir()
    truth = np.array([[1, 4, 4], [255, 4, 4]], np.uint8)
    Image.fromarray(truth.repeat(8, 0).repeat(8, 1)).save(
        tmp_path / 'SegmentationClass/1.png'
    )
    task = Segmentation(PascalVoc(tmp_path), candidates='both')
    result = task.run(VocModel((2, 3)))
    check(result, *[100 * (1 / 2 + 3 / 4) / 2] * 2)
    assert result.skipped == {'broken pictures': 1}


def test_coco_instances(tmp_path):
    """Polygons of ruby and of sea, the sea's one cell short; a crowd of sun.

    The cell that is sea and is said to be nothing counts against sea, unless
    foreground alone is scored.
    """
    write_picture(tmp_path / 'images/1.png')

    def row(kind, x, y, width, height, **more):
        x2, y2 = x + width, y + height
        return {
            'image_id': 1,
            'category_id': kind,
            'bbox': [x, y, width, height],
            'area': width * height,
            'segmentation': [[x, y, x2, y, x2, y2, x, y2]],
            **more,
        }

    # The lower halves of the first eight columns, then 16 columns of none.
    crowd = {'size': [16, 24], 'counts': [8] * 16 + [16 * 16]}
    content = {
        'images': [{'id': 1, 'file_name': '1.png', 'width': 24, 'height': 16}],
        'annotations': [
            row(1, 0, 0, 16, 8),
            row(3, 16, 0, 8, 16),
            row(4, 0, 8, 8, 8, iscrowd=1, segmentation=crowd),
        ],
        'categories': [
            {'id': n, 'name': name} for n, name in enumerate(NOUNS, 1)
        ],
    }
    file = tmp_path / 'instances.json'
    file.write_text(json.dumps(content))
    source = CocoInstances(file, tmp_path / 'images')
    assert source.crowds(0) == [NOUNS[3]]
    assert NOUNS[3] not in [row['name'] for row in source.boxes(0)]
    task = Segmentation(source, candidates='both')
    result = task.run(ColourModel((2, 3)))
    check(result, 100, 100)
    assert result.metrics['miou'] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert result.metrics['miou_all'] == result.metrics['miou']


def test_coco_panoptic(tmp_path):
    """The map calls the ruby leaf: only where leaf is a choice is it wrong.

    Given leaf and sea, what is ruby is as far from both. Sun is unlabelled.
    """
    write_picture(tmp_path / 'images/1.png')
    numbers = np.array([[500, 500, 66_000], [0, 66_000, 66_000]])
    numbers = numbers.repeat(8, 0).repeat(8, 1)
    colours = [numbers % 256, numbers // 256 % 256, numbers // 65_536]
    (tmp_path / 'panoptic').mkdir()
    Image.fromarray(np.stack(colours, -1).astype(np.uint8)).save(
        tmp_path / 'panoptic/1.png'
    )
    content = {
        'images': [{'id': 1, 'file_name': '1.png'}],
        'annotations': [
            {
                'image_id': 1,
                'file_name': '1.png',
                'segments_info': [
                    {'id': 500, 'category_id': 2, 'iscrowd': 0},
                    {'id': 66_000, 'category_id': 3, 'iscrowd': 0},
                ],
            }
        ],
        'categories': [
            {'id': n, 'name': f'{name}-merged'}
            for n, name in enumerate(NOUNS, 1)
        ],
    }
    file = tmp_path / 'panoptic.json'
    file.write_text(json.dumps(content))
    source = CocoPanoptic(file, tmp_path / 'images')
    result = Segmentation(source, candidates='both').run(ColourModel((2, 3)))
    assert result.metrics['miou_fg_all'] == pytest.approx(100 / 2)
    ious = result.samples[0]['classes']
    assert ious['leaf']['miou_all'] == 0 and ious['sea']['miou_all'] == 100
