"""What is in a picture: each object once, with all of its words.

Data sets name an object twice, as 'man' and as 'person', with a box for each
name. As two boxes they would be matched with two patches, and each of these
would be taught that the other's word is wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

SAME = 0.9
"""Overlap (IoU) from which on two boxes are of one object, as in OWL-ViT."""


class Targets(NamedTuple):
    """What is in one picture.

    Attributes:
        boxes: (N, 4) centre x and y, width and height, as shares of the
            picture's own whole patches.
        words: (N, Q) bool, which of the picture's words each goes by.
    """

    boxes: Tensor
    words: Tensor


def merge_boxes(
    boxes: Tensor, labels: Tensor, words: int
) -> tuple[Tensor, Tensor]:
    """Boxes of one object become one that goes by all of their words.

    A box joins the first one before it that it overlaps enough and that has
    joined no other itself. Boxes of one word that coincide become one too.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        labels: (N,) int64, the place of each box's word.
        words: How many there are.

    Returns:
        (M, 4) the first box of each object; (M, words) bool, its words.
    """
    kept: list[int] = []
    places = []
    for number, same in enumerate(
        (bbox_overlaps(boxes, boxes) >= SAME).tolist()
    ):
        place = next((at for at, k in enumerate(kept) if same[k]), len(kept))
        if place == len(kept):
            kept.append(number)
        places.append(place)
    own = labels.new_zeros(len(kept), words, dtype=torch.bool)
    own[places, labels] = True
    return boxes[kept], own
