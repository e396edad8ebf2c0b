"""The words of the drawn scenes and what each of them looks like.

Colours are RGB, shapes are outlines that reach the unit circle, y downwards.
An object's outline knows how far it reaches in every direction, so that the
layout can make objects overlap without drawing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    'red': (214, 30, 36),
    'orange': (247, 140, 20),
    'yellow': (250, 222, 40),
    'green': (36, 150, 58),
    'blue': (32, 80, 210),
    'purple': (128, 44, 168),
    'pink': (250, 140, 190),
    'brown': (118, 70, 32),
    'black': (20, 20, 22),
    'white': (250, 250, 250),
}
TEXTURES = ('plain', 'striped', 'dotted', 'checkered')
# Radius of the surrounding circle as a share of the picture's side.
SIZES: dict[str, tuple[float, float]] = {
    'small': (0.082, 0.105),
    'large': (0.165, 0.21),
}
DIRECTIONS = 64


@dataclass(frozen=True)
class Outline:
    """The contour of a shape.

    Attributes:
        contours: Closed polygons, each (K, 2) float32 x and y; a second one
            is a hole.
        turn: How far the shape may be turned either way, in radians.
        holds: Radius of the circle around the origin that another object
            fits into, 0 where none does.
    """

    contours: tuple[np.ndarray, ...]
    turn: float = 0.2
    holds: float = 0.0

    @cached_property
    def reach(self) -> tuple[float, ...]:
        """How far the shape reaches from its origin in `DIRECTIONS` ways."""
        angles = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
        rays = np.stack([np.cos(angles), np.sin(angles)], 1)[:, None]
        start = self.contours[0].astype(np.float64)[None]
        edge = np.roll(start, -1, axis=1) - start
        # start + u * edge = distance * ray, solved for every ray and edge.
        scale = _cross(rays, edge)
        scale = np.where(np.abs(scale) < 1e-12, np.nan, scale)
        distance = _cross(start, edge) / scale
        along = _cross(start, rays) / scale
        hit = (along >= -1e-6) & (along <= 1 + 1e-6) & (distance > 0)
        return tuple(np.where(hit, distance, np.inf).min(1).tolist())

    def reach_towards(self, angle: float) -> float:
        """How far the unturned shape reaches in the direction `angle`."""
        return self.reach[round(angle / (2 * np.pi) * DIRECTIONS) % DIRECTIONS]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _points(*points: tuple[float, float]) -> np.ndarray:
    """Polygon from points, scaled to reach the unit circle."""
    array = np.array(points, dtype=np.float64)
    return (array / np.linalg.norm(array, axis=1).max()).astype(np.float32)


def _regular(
    corners: int, start: float = -np.pi / 2, radius: float = 1
) -> np.ndarray:
    angles = start + np.arange(corners) * (2 * np.pi / corners)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    return (radius * circle).astype(np.float32)


def _star() -> np.ndarray:
    points = _regular(10).copy()
    points[1::2] *= 0.45
    return points


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t))
    y += np.cos(4 * t) - 2
    return _points(*zip(x, y, strict=True))


def _crescent() -> np.ndarray:
    # The unit circle without the circle of radius 0.8 around (0.55, 0).
    corner = np.arccos((1 + 0.55**2 - 0.8**2) / (2 * 0.55))
    outer = np.linspace(corner, 2 * np.pi - corner, 32)
    x, y = np.cos(corner), np.sin(corner)
    bite = np.arctan2(y, x - 0.55)
    inner = np.linspace(2 * np.pi - bite, bite, 24)[1:-1]
    points = np.concatenate(
        [
            np.stack([np.cos(outer), np.sin(outer)], 1),
            np.stack([0.55 + 0.8 * np.cos(inner), 0.8 * np.sin(inner)], 1),
        ]
    )
    # The origin goes into the body, where the radial reach is measured from.
    return _points(*(points + [0.6, 0.0]))


_ARM = 0.36
SHAPES: dict[str, Outline] = {
    'circle': Outline((_regular(40),), turn=np.pi, holds=0.95),
    'square': Outline(
        (_points((-1, -1), (1, -1), (1, 1), (-1, 1)),), holds=0.66
    ),
    'triangle': Outline((_regular(3),), turn=0.25),
    'star': Outline((_star(),), turn=0.3),
    'heart': Outline((_heart(),), turn=0.25, holds=0.5),
    'cross': Outline(
        (
            _points(
                *((_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM)),
                *((_ARM, _ARM), (_ARM, 1), (-_ARM, 1), (-_ARM, _ARM)),
                *((-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM), (-_ARM, -1)),
            ),
        ),
        turn=0.2,
    ),
    'diamond': Outline(
        (_points((0, -1), (0.62, 0), (0, 1), (-0.62, 0)),), turn=0.12
    ),
    'ring': Outline(
        (_regular(40), _regular(32, radius=0.58)), turn=np.pi, holds=0.56
    ),
    'crescent': Outline((_crescent(),), turn=0.5),
    'arrow': Outline(
        (
            _points(
                *((1, 0), (0.1, -0.85), (0.1, -0.35), (-0.95, -0.35)),
                *((-0.95, 0.35), (0.1, 0.35), (0.1, 0.85)),
            ),
        ),
        turn=np.pi,
    ),
    'hexagon': Outline((_regular(6),), turn=0.3, holds=0.82),
    'oval': Outline((_regular(40) * np.float32([1, 0.58]),), turn=0.3),
}
