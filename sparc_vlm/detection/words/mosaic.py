"""GridMosaic: several pictures as one, as OWL-ViT trains on them.

Small objects become common, and pictures hold more words.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence, Sized
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import HorizontalBoxes

from sparc_vlm.datasets.report import add_report, new_report
from sparc_vlm.detection.boxes import GREY
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import TRANSFORMS

SMALLEST = 1.0
"""Sides in pixels below which a box is dropped."""


@TRANSFORMS.register_module()
class GridMosaic(BaseTransform):
    """n x n pictures in a square, each as large as its tile allows.

    For MMDetection's `MultiImageMixDataset`, before `SampleWords`. A word
    that is absent from one tile counts as absent from the whole, unless
    another tile shows it: where nobody has looked for it, it is as likely
    absent as a word drawn at random, which is taken to be absent too. One
    that is incomplete in a tile is incomplete in the whole.

    Args:
        size: Side of the square in pixels.
        sizes: The numbers n of tiles a side.
        probabilities: Of each of them.

    Raises:
        ValueError: Not as many probabilities as sizes, or they do not add up
            to 1.
    """

    def __init__(
        self,
        size: int,
        sizes: Sequence[int] = (1, 2, 3),
        probabilities: Sequence[float] = (0.4, 0.3, 0.3),
    ) -> None:
        if len(sizes) != len(probabilities) or not math.isclose(
            sum(probabilities), 1, abs_tol=1e-6
        ):
            raise UsageError(
                'GridMosaic: probabilities must be one for each of sizes and '
                f'add up to 1, got {tuple(probabilities)} for {tuple(sizes)}'
            )
        self.size = size
        self.sizes = tuple(sizes)
        self.probabilities = tuple(probabilities)

    def get_indexes(self, dataset: Sized) -> list[int]:
        """Which pictures are put beside the first, all of them different.

        Args:
            dataset: Where they come from.
        """
        side = int(np.random.choice(self.sizes, p=self.probabilities))
        draw = random.Random(int(np.random.randint(2**31)))
        tiles = side * side - 1
        if tiles > len(dataset):
            return [draw.randrange(len(dataset)) for _ in range(tiles)]
        return draw.sample(range(len(dataset)), tiles)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """The pictures of `results` and of its `mix_results` as one.

        Args:
            results: Of a `WordBoxes`, with `gt_bboxes` and labels.
        """
        tiles = [results, *results.get('mix_results', ())]
        side = math.isqrt(len(tiles))
        edges = np.linspace(0, self.size, side + 1).round().astype(int)
        image = np.full((self.size, self.size, 3), GREY, np.uint8)
        words = tuple(dict.fromkeys(_all_of(tiles, 'words')))
        incomplete = _all_of(tiles, 'incomplete')
        boxes, labels, report = [], [], new_report()
        for place, tile in enumerate(tiles):
            row, column = divmod(place, side)
            corner = edges[column], edges[row]
            room = min(
                edges[column + 1] - corner[0], edges[row + 1] - corner[1]
            )
            placed, seen = _put(tile, image, corner, room)
            boxes.append(placed[seen])
            names = np.array(tile['words'])[tile['gt_bboxes_labels']]
            labels += [words.index(name) for name in names[seen]]
            incomplete += names[~seen].tolist()
            add_report(report, tile['report'])
        vocabularies = {id(one): one for one in _all_of(tiles, 'vocabularies')}
        return results | dict(
            img=image,
            img_shape=image.shape[:2],
            ori_shape=image.shape[:2],
            scale_factor=(1.0, 1.0),
            gt_bboxes=boxes[0].cat(boxes),
            gt_bboxes_labels=np.array(labels, dtype=np.int64),
            gt_ignore_flags=np.zeros(len(labels), dtype=bool),
            words=words,
            absent=tuple(_all_of(tiles, 'absent')),
            incomplete=tuple(dict.fromkeys(incomplete)),
            vocabularies=tuple(vocabularies.values()),
            report=report,
        )


def _all_of(tiles: Sequence[dict[str, Any]], key: str) -> list[Any]:
    """What all tiles have under a key, in a row."""
    return [value for tile in tiles for value in tile[key]]


def _put(
    tile: dict[str, Any],
    image: np.ndarray,
    corner: tuple[int, int],
    room: int,
) -> tuple[HorizontalBoxes, np.ndarray]:
    """Lays a picture into its tile.

    Args:
        tile: The picture and its boxes.
        image: What it is laid into; changed in place.
        corner: Left and top of the tile in pixels.
        room: Side of the tile in pixels.

    Returns:
        Its boxes in the whole, and (N,) bool, which are large enough.
    """
    small = mmcv.imrescale(tile['img'], (room, room))
    (left, top), (height, width) = corner, small.shape[:2]
    image[top : top + height, left : left + width] = small
    boxes = tile['gt_bboxes'].clone()
    before = tile['img'].shape
    boxes.rescale_((width / before[1], height / before[0]))
    boxes.translate_((int(left), int(top)))
    seen = (boxes.widths >= SMALLEST) & (boxes.heights >= SMALLEST)
    return boxes, seen.numpy()
