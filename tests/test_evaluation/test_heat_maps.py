import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from sparc_vlm.evaluation.heat_maps import (
    WHOLE,
    box_around,
    enclosing,
    enlarge_maps,
    inside,
    overlaps,
    points_at,
)


def test_maps_are_enlarged_between_the_centres_of_patches():
    maps = enlarge_maps(torch.tensor([[-3.0, 5.0]]), (1, 2), 4)
    assert maps.shape == (1, 4, 4)
    assert maps[0].tolist() == [[0, 0.25, 0.75, 1]] * 4


def test_patches_that_differ_by_rounding_are_the_same():
    noise = torch.tensor([[0.5, 0.5 + 1e-7, 0.5, 0.5]])
    assert not enlarge_maps(noise, (2, 2), 8).any()
    assert enlarge_maps(noise * 1e3, (2, 2), 8).max() == 1


def test_a_map_points_into_boxes_or_not():
    mask = inside([(0, 0, 0.5, 0.5), (0.75, 0.75, 1, 1)], 4)
    assert mask.sum() == 5
    heat = np.zeros((4, 4))
    heat[3, 3] = 1
    assert points_at(heat, mask) == 1
    heat[0, 3] = 1
    assert points_at(heat, mask) == 0.5
    # All maxima: as often as the boxes cover the picture.
    assert points_at(np.zeros((4, 4)), mask) == 5 / 16


def test_a_box_holds_the_pixels_whose_centre_it_holds():
    assert inside([(0.13, 0.0, 0.62, 0.1)], 4).sum() == 0
    mask = inside([(0.12, 0.0, 0.63, 0.13)], 4)
    assert mask.nonzero()[1].tolist() == [0, 1, 2]


def test_box_around_the_largest_hot_region():
    heat = np.array(
        [
            [0.4, 0.0, 0.0, 1.0],
            [0.6, 0.0, 0.0, 0.0],
            [0.0, 0.7, 0.0, 0.0],
            [0.0, 0.5, 0.0, 0.0],
        ]
    )
    assert box_around(heat, 0.5) == (0, 0.25, 0.5, 1)
    assert box_around(heat, 0.4) == (0, 0, 0.5, 1)
    assert box_around(heat, 0.9) == (0.75, 0, 1, 0.25)
    assert box_around(np.zeros((4, 4)), 0.5) == WHOLE


def test_overlaps_are_torchvisions():
    random = np.random.default_rng(0)
    corners = np.sort(random.random((40, 2, 2)), axis=1).reshape(40, 4)
    boxes = torch.tensor(corners)
    for box in corners[:5]:
        theirs = box_iou(torch.tensor(box)[None], boxes)[0]
        assert overlaps(box, corners) == pytest.approx(theirs.numpy())


def test_enclosing_box():
    boxes = [(0.1, 0.5, 0.2, 0.6), (0.3, 0.0, 0.4, 0.55)]
    assert enclosing(boxes) == (0.1, 0.0, 0.4, 0.6)
    assert overlaps(WHOLE, [enclosing(boxes)]) == pytest.approx([0.18])
