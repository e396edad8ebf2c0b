"""From a scene's description to pixels and the object each pixel shows."""

from __future__ import annotations

import math

import cv2
import numpy as np

from sparc_vlm.datasets.scenes.backgrounds import paint_background
from sparc_vlm.datasets.scenes.layout import Scene, SceneObject
from sparc_vlm.datasets.scenes.vocabulary import SHAPES

# Fraction bits of the polygon corners: edges fall between pixels.
_BITS = 6


def draw(scene: Scene, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws a scene.

    Args:
        scene: What to draw.
        size: Side of the picture in pixels.

    Returns:
        (size, size, 3) uint8 RGB, and (size, size) uint8: 0 on the
        background, k where `scene.objects[k - 1]` is seen.
    """
    picture = paint_background(scene.background, size)
    labels = np.zeros((size, size), np.uint8)
    for number, thing in enumerate(scene.objects, 1):
        _draw_object(thing, number, picture, labels)
    np.clip(picture, 0, 255, out=picture)
    return picture.astype(np.uint8), labels


def _draw_object(
    thing: SceneObject, number: int, picture: np.ndarray, labels: np.ndarray
) -> None:
    size = len(picture)
    x, y, radius = thing.x * size, thing.y * size, thing.radius * size
    left, top = max(int(x - radius) - 1, 0), max(int(y - radius) - 1, 0)
    right = min(int(x + radius) + 3, size)
    bottom = min(int(y + radius) + 3, size)
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    scale = radius * (1 << _BITS)
    turn = np.array([[cos, sin], [-sin, cos]], np.float32) * scale
    # Pixel k covers [k, k + 1): its centre, which cv2 calls k, is k + 0.5.
    shift = x - left - 0.5, y - top - 0.5
    corner = np.array(shift, np.float32) * (1 << _BITS)
    outline = [
        np.rint(contour @ turn + corner).astype(np.int32)
        for contour in SHAPES[thing.shape].contours
    ]
    cover = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(cover, outline, 255, lineType=cv2.LINE_AA, shift=_BITS)
    window = picture[top:bottom, left:right]
    paint = _paint(thing, cover.shape, shift, radius)
    alpha = cover[..., None] * np.float32(1 / 255)
    window += alpha * (paint - window)
    labels[top:bottom, left:right][cover > 127] = number


def _paint(
    thing: SceneObject,
    shape: tuple[int, int],
    shift: tuple[float, float],
    radius: float,
) -> np.ndarray:
    """Colour of each pixel of an object's window: (h, w, 3) or (3,)."""
    base = np.float32(thing.rgb)
    if thing.texture == 'plain':
        return base
    # Coordinates in the object's own frame, in radians of the pattern.
    bands = 4.0 if thing.size == 'small' else 8.0
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    scale = bands / 2 * math.pi / radius
    x = (np.arange(shape[1], dtype=np.float32) - shift[0]) * scale
    y = ((np.arange(shape[0], dtype=np.float32) - shift[1]) * scale)[:, None]
    along = cos * x + sin * y
    # One pixel wide edges between the two tones, whatever the size.
    sharp = 1 / scale
    if thing.texture == 'striped':
        wave = np.sin(along)
    else:
        across = cos * y - sin * x
        wave = np.sin(along) * np.sin(across)
        if thing.texture == 'dotted':
            wave = np.abs(wave) - 0.42
    mix = np.clip(0.5 + sharp * wave, 0, 1)[..., None]
    return base + mix * (np.float32(thing.shade) - base)
