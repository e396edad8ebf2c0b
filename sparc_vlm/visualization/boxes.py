"""Pictures with what was found on them: boxes, masks, names and scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask
from torch import Tensor

SHORTEST = 480
"""Pixels of the longer side below which a picture is drawn larger, so that
names can be read."""
FONT_SHARE = 1 / 32
SMALLEST_FONT = 13
MASK_SHARE = 0.4
COLOURS = [
    tuple(round(255 * part) for part in colour)
    for colour in colormaps['tab10'].colors
]

Colour = tuple[int, int, int]


class Found(Protocol):
    """What a detector finds on a picture; see `Detections`."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: list[dict[str, Any]] | None


def draw_boxes(
    picture: Image.Image, found: Found, names: Sequence[str]
) -> Image.Image:
    """A picture with the box, name and score of all that was found on it.

    A small picture is made larger by a whole number. The best stand on top.

    Args:
        picture: RGB.
        found: Boxes in pixels of the picture, best first.
        names: What its labels are places in; each has a colour.

    Returns:
        A picture of its own.
    """
    times = max(1, math.ceil(SHORTEST / max(picture.size)))
    size = (picture.width * times, picture.height * times)
    # The pixels of a tiny picture are shown as they are.
    drawn = picture.convert('RGB').resize(size, Image.Resampling.NEAREST)
    order = range(len(found.scores) - 1, -1, -1)
    for at in order if found.masks else ():
        _shade(drawn, found.masks[at], _colour(int(found.labels[at])))
    pen = ImageDraw.Draw(drawn)
    height = max(SMALLEST_FONT, round(min(drawn.size) * FONT_SHARE))
    font = ImageFont.load_default(height)
    width = max(2, height // 6)
    for at in order:
        label = int(found.labels[at])
        box = [side * times for side in found.boxes[at].tolist()]
        pen.rectangle(_ordered(box), outline=_colour(label), width=width)
    # Names last, so that no box crosses them.
    for at in order:
        label = int(found.labels[at])
        corner = [side * times for side in found.boxes[at].tolist()[:2]]
        text = f'{names[label]} {float(found.scores[at]):.2f}'
        _write(pen, text, corner, font, _colour(label))
    return drawn


def _colour(label: int) -> Colour:
    return COLOURS[label % len(COLOURS)]


def _ordered(box: Sequence[float]) -> list[float]:
    """Corners of which the second is not before the first."""
    x1, y1, x2, y2 = box
    return [x1, y1, max(x1, x2), max(y1, y2)]


def _shade(
    picture: Image.Image, packed: dict[str, Any], colour: Colour
) -> None:
    """Lays a colour over a mask, in place."""
    mask = Image.fromarray(coco_mask.decode(packed) * np.uint8(255))
    share = mask.resize(picture.size, Image.Resampling.NEAREST).point(
        lambda value: round(value * MASK_SHARE)
    )
    picture.paste(Image.new('RGB', picture.size, colour), mask=share)


def _write(
    pen: ImageDraw.ImageDraw,
    text: str,
    corner: Sequence[float],
    font: ImageFont.FreeTypeFont,
    colour: Colour,
) -> None:
    """Writes a label above a box's corner, or as near as the picture goes."""
    across, down = pen.im.size
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    margin = 2
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    x = min(max(corner[0], 0), max(across - width, 0))
    y = corner[1] - height
    if y < 0:  # inside of the box, then
        y = min(max(corner[1], 0), max(down - height, 0))
    pen.rectangle([x, y, x + width, y + height], fill=colour)
    dark = sum(colour) > 384
    pen.text(
        (x + margin - left, y + margin - top),
        text,
        font=font,
        fill='black' if dark else 'white',
    )
