"""What stands behind the objects of a drawn scene.

Plain tints, gradients, grain, and two-part grounds such as sky over grass:
quiet enough that every object colour kept by the layout stands out.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import cv2
import numpy as np

RGB = tuple[int, int, int]
TINTS: dict[str, RGB] = {
    'pale blue': (188, 208, 228),
    'pale green': (196, 220, 192),
    'cream': (240, 228, 198),
    'lilac': (206, 194, 224),
    'light gray': (204, 204, 204),
    'gray': (142, 144, 146),
    'dark gray': (74, 76, 80),
    'dark blue': (34, 44, 84),
}
GROUNDS: dict[str, tuple[RGB, RGB]] = {
    'grass under the sky': ((158, 200, 236), (122, 168, 84)),
    'sand beside the sea': ((92, 156, 188), (226, 206, 160)),
    'a wooden floor': ((222, 214, 204), (166, 124, 84)),
    'snow at night': ((44, 52, 86), (218, 226, 236)),
}


@dataclass(frozen=True, slots=True)
class Background:
    """The ground of a scene.

    Attributes:
        kind: 'plain', 'gradient', 'grain' or 'halves'.
        name: Its words: a tint, or one of `GROUNDS`.
        colours: The colours in it, one or two.
        level: Where the two parts of 'halves' meet, from the top; for
            'gradient' its direction in turns.
        seed: For its noise.
    """

    kind: str
    name: str
    colours: tuple[RGB, ...]
    level: float
    seed: int

    @property
    def phrase(self) -> str:
        """Words that go after a list of objects."""
        if self.kind == 'halves':
            return f'on {self.name}'
        if self.kind == 'gradient':
            return f'on a {self.name} gradient'
        if self.kind == 'grain':
            return f'on a grainy {self.name} background'
        return f'on a {self.name} background'


def draw_background(rng: Random) -> Background:
    """Draws a background's description from a random stream."""
    kind = rng.choice(('plain', 'gradient', 'grain', 'halves'))
    level, seed = rng.uniform(0.35, 0.65), rng.getrandbits(32)
    if kind == 'halves':
        name = rng.choice(tuple(GROUNDS))
        return Background(kind, name, GROUNDS[name], level, seed)
    name = rng.choice(tuple(TINTS))
    shift = rng.randint(-8, 8)
    tint = tuple(max(0, min(255, value + shift)) for value in TINTS[name])
    if kind != 'gradient':
        return Background(kind, name, (tint,), level, seed)
    bright = sum(tint) / 3
    factor = 0.78 if bright > 110 else 1.5
    other = tuple(min(255, int(value * factor)) for value in tint)
    return Background(kind, name, (tint, other), rng.random(), seed)


def paint_background(background: Background, size: int) -> np.ndarray:
    """Paints a background.

    Args:
        background: What to paint.
        size: Side in pixels.

    Returns:
        (size, size, 3) float32, 0 to 255.
    """
    picture = np.empty((size, size, 3), np.float32)
    first = np.float32(background.colours[0])
    if background.kind == 'plain':
        picture[:] = first
    elif background.kind == 'gradient':
        angle = 2 * np.pi * background.level
        line = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        slope = np.float32(np.sin(angle)) * line[:, None]
        slope = 0.5 + 0.7 * (slope + np.float32(np.cos(angle)) * line)
        change = np.float32(background.colours[1]) - first
        np.multiply(slope[..., None], change, out=picture)
        picture += first
    elif background.kind == 'grain':
        picture[:] = first
        picture += _noise(background.seed, size, cells=16, strength=26)[
            ..., None
        ]
    else:
        edge = round(background.level * size)
        picture[:edge] = first
        picture[edge:] = np.float32(background.colours[1])
        picture += _noise(background.seed, size, cells=32, strength=12)[
            ..., None
        ]
    return picture


def _noise(seed: int, size: int, cells: int, strength: float) -> np.ndarray:
    """Smooth noise (size, size), the same pattern at every size."""
    rng = np.random.default_rng(seed)
    grid = rng.random((cells, cells), dtype=np.float32) - 0.5
    return cv2.resize(
        2 * strength * grid, (size, size), interpolation=cv2.INTER_LINEAR
    )
