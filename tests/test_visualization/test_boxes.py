"""Boxes on pictures: where they stand, in which colours, with which names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from sparc_vlm.detection import Detections
from sparc_vlm.visualization import boxes
from sparc_vlm.visualization.boxes import COLOURS, draw_boxes


def found(*corners, labels=None, masks=None):
    count = len(corners)
    return Detections(
        torch.tensor(corners, dtype=torch.float32).view(-1, 4),
        torch.linspace(0.9, 0.5, count),
        torch.tensor(labels or [0] * count, dtype=torch.int64),
        masks,
    )


def grey(width, height):
    return Image.new('RGB', (width, height), (128, 128, 128))


def test_a_box_is_drawn_around_its_pixels():
    """Of a picture that is large enough, so it stays as it is."""
    picture = grey(500, 300)
    drawn = np.asarray(draw_boxes(picture, found([50, 60, 200, 250]), ['a']))
    assert drawn.shape == (300, 500, 3)
    colour = np.array(COLOURS[0])
    for row, column in ((60, 120), (250, 120), (150, 50), (150, 200)):
        assert (drawn[row, column] == colour).all()
    assert (drawn[150, 120] == 128).all()
    assert (drawn[290, 400] == 128).all()
    # The picture that was given is as it was.
    assert (np.asarray(picture) == 128).all()


@pytest.mark.parametrize(
    ('size', 'times'), [((64, 48), 8), ((240, 100), 2), ((481, 20), 1)]
)
def test_small_pictures_are_made_larger(size, times):
    drawn = draw_boxes(grey(*size), found([8, 8, 20, 20]), ['a'])
    assert drawn.size == (size[0] * times, size[1] * times)
    if times > 1:
        edge = drawn.getpixel((14 * times, 20 * times))
        assert edge == COLOURS[0]


def test_each_name_has_a_colour():
    both = found([10, 50, 90, 90], [200, 50, 300, 90], labels=[1, 12])
    drawn = draw_boxes(grey(500, 200), both, [''] * 13)
    assert drawn.getpixel((50, 90)) == COLOURS[1]
    assert drawn.getpixel((250, 90)) == COLOURS[2]


def test_masks_are_shaded():
    mask = np.zeros((200, 500), np.uint8)
    mask[20:80, 30:90] = 1
    packed = coco_mask.encode(np.asfortranarray(mask))
    one = found([30, 20, 90, 80], masks=[packed])
    drawn = np.asarray(draw_boxes(grey(500, 200), one, ['a']), float)
    share = (drawn[60, 60] - 128) / (np.array(COLOURS[0]) - 128)
    assert share == pytest.approx(boxes.MASK_SHARE, abs=0.05)
    assert (drawn[150, 300] == 128).all()


def test_names_do_not_lie_upon_each_other(monkeypatch):
    places = []
    write = boxes._write

    def watched(*given):
        places.append(write(*given))
        return places[-1]

    monkeypatch.setattr(boxes, '_write', watched)
    # Four of one place, and two that reach out of the picture.
    corners = [[100, 90, 260, 240]] * 4
    corners += [[-30, -20, 60, 40], [450, 280, 540, 330]]
    draw_boxes(grey(500, 300), found(*corners), ['something'])
    assert len(places) == 6
    for number, (x1, y1, x2, y2) in enumerate(places):
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= 500
        assert y2 <= 300
        for other in places[:number]:
            assert not boxes._meet((x1, y1, x2, y2), other)


def test_nothing_found_leaves_the_picture_alone():
    drawn = draw_boxes(grey(500, 100), found(), [])
    assert (np.asarray(drawn) == 128).all()
