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
TINY = 4
"""Times by which a picture is made larger from which on its pixels show."""
FONT_SHARE = 1 / 32
SMALLEST_FONT = 13
MARGIN = 2
MASK_SHARE = 0.4
COLOURS = [
    tuple(round(255 * part) for part in colour)
    for colour in colormaps['tab10'].colors
]

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]


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
    smooth = Image.Resampling.BICUBIC
    how = Image.Resampling.NEAREST if times >= TINY else smooth
    drawn = picture.convert('RGB').resize(size, how)
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
    # Names last, so that no box crosses them; the best has the first choice.
    taken: list[Box] = []
    for at in reversed(order):
        label = int(found.labels[at])
        box = [side * times for side in found.boxes[at].tolist()]
        text = f'{names[label]} {float(found.scores[at]):.2f}'
        taken.append(_write(pen, text, box, font, _colour(label), taken))
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
    box: Sequence[float],
    font: ImageFont.FreeTypeFont,
    colour: Colour,
    taken: Sequence[Box],
) -> Box:
    """Writes a name at a box, where no other stands, and returns where."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    size = (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN)
    x, y, *_ = place = _free_place(box, size, pen.im.size, taken)
    pen.rectangle(place, fill=colour)
    pen.text(
        (x + MARGIN - left, y + MARGIN - top),
        text,
        font=font,
        fill='black' if sum(colour) > 384 else 'white',
    )
    return place


def _free_place(
    box: Sequence[float],
    size: tuple[float, float],
    room: tuple[int, int],
    taken: Sequence[Box],
) -> Box:
    """Above a box, in it, or below it; where all is taken, above."""
    x1, y1, x2, y2 = box
    width, height = size
    columns = (x1, x2 - width)
    rows = (y1 - height, y1, y2 - height, y2)
    places = [
        _inside(x, y, size, room)
        for y in rows
        for x in columns
        if 0 <= y <= room[1] - height
    ]
    places.append(_inside(x1, y1 - height, size, room))
    free = (own for own in places if not any(_meet(own, t) for t in taken))
    return next(free, places[-1])


def _inside(
    x: float, y: float, size: tuple[float, float], room: tuple[int, int]
) -> Box:
    """A place moved so that the picture has all of it, if it can."""
    width, height = size
    x = max(min(x, room[0] - width), 0)
    y = max(min(y, room[1] - height), 0)
    return x, y, x + width, y + height


def _meet(one: Box, other: Box) -> bool:
    """Whether two places have a pixel in common."""
    return (
        one[0] < other[2]
        and other[0] < one[2]
        and one[1] < other[3]
        and other[1] < one[3]
    )
