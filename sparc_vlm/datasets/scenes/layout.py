"""What stands where in a drawn scene, decided before anything is drawn.

A scene is a function of its random stream alone. Objects keep apart unless
the layout wants one in front of another or inside another, so that every
relation in a caption can be read off the layout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from sparc_vlm.datasets.scenes.backgrounds import Background, draw_background
from sparc_vlm.datasets.scenes.vocabulary import (
    COLOURS,
    SHAPES,
    SIZES,
    TEXTURES,
)

RGB = tuple[int, int, int]
COUNTS = (1, 2, 3, 4, 5)
COUNT_WEIGHTS = (10, 26, 30, 20, 14)
# RGB distance at which two colours are told apart at a glance.
CONTRAST = 95.0


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One thing in a scene; lengths are shares of the picture's side.

    Attributes:
        shape: One of `SHAPES`.
        colour: One of `COLOURS`.
        texture: One of `TEXTURES`.
        size: One of `SIZES`.
        x: Centre, from the left edge.
        y: Centre, from the top edge.
        radius: Of the circle around the object.
        angle: By how much the outline is turned, in radians.
        rgb: The colour as drawn.
        shade: The second colour of the texture, a tone of the first.
    """

    shape: str
    colour: str
    texture: str
    size: str
    x: float
    y: float
    radius: float
    angle: float
    rgb: RGB
    shade: RGB

    @property
    def name(self) -> str:
        """Colour and shape, fit for a prompt: 'red circle'."""
        return f'{self.colour} {self.shape}'


@dataclass(frozen=True, slots=True)
class Scene:
    """A described picture.

    Attributes:
        objects: In drawing order, the front-most last.
        background: What stands behind them.
        overlaps: Pairs (front, back) of indices into `objects`.
        inside: Pairs (inner, outer) of indices into `objects`.
    """

    objects: tuple[SceneObject, ...]
    background: Background
    overlaps: tuple[tuple[int, int], ...] = ()
    inside: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Look:
    shape: str
    colour: str
    texture: str
    size: str


def lay_out(rng: Random) -> Scene:
    """Draws a scene from a random stream.

    Args:
        rng: Everything in the scene comes from it.
    """
    background = draw_background(rng)
    count = rng.choices(COUNTS, COUNT_WEIGHTS)[0]
    colours = colours_on(background)
    looks = _draw_looks(count, colours, rng)
    placer = _Placer(rng)
    chance = rng.random()
    if len(looks) > 1 and looks[0] != looks[1]:
        if chance < 0.14:
            placer.place_inside(looks, colours)
        elif chance < 0.48:
            placer.place_overlapping(looks, colours)
    for look in looks[len(placer.objects) :]:
        placer.place(look)
    return Scene(
        tuple(placer.objects),
        background,
        tuple(placer.overlaps),
        tuple(placer.inside),
    )


def colours_on(background: Background) -> list[str]:
    """Names of the colours that stand out from a background."""
    return [
        name
        for name, rgb in COLOURS.items()
        if all(_distance(rgb, back) > CONTRAST for back in background.colours)
    ]


def _draw_looks(count: int, colours: list[str], rng: Random) -> list[_Look]:
    """Attributes of the objects: some alike, many differing in one only."""
    shapes = tuple(SHAPES)
    looks: list[_Look] = []
    repeats = rng.choice((2, 3)) if count > 2 and rng.random() < 0.3 else 0
    while len(looks) < count:
        shape, colour = rng.choice(shapes), rng.choice(colours)
        texture = TEXTURES[0]
        if rng.random() < 0.6:
            texture = rng.choice(TEXTURES)
        size = 'small' if rng.random() < 0.5 else 'large'
        if looks and rng.random() < 0.4:
            # Shares a shape or a colour with one that is there, so that
            # which attribute belongs to which object matters.
            other = rng.choice(looks)
            if rng.random() < 0.5:
                shape = other.shape
            else:
                colour = other.colour
        looks.append(_Look(shape, colour, texture, size))
    # The group goes last: the first two may be placed in a relation.
    for place in range(1, min(repeats, count - 1)):
        looks[-1 - place] = looks[-1]
    return looks


class _Placer:
    """Finds a free place for one object after the other."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.objects: list[SceneObject] = []
        self.overlaps: list[tuple[int, int]] = []
        self.inside: list[tuple[int, int]] = []

    def place(self, look: _Look, tries: int = 24) -> None:
        """Puts an object where nothing is; leaves it out if all is full."""
        rng = self.rng
        for size in (look.size, 'small'):
            for _ in range(tries):
                radius = rng.uniform(*SIZES[size])
                x, y = self._point(radius)
                if self._free(x, y, radius):
                    look = _Look(look.shape, look.colour, look.texture, size)
                    self.objects.append(self._make(look, x, y, radius))
                    return

    def place_overlapping(
        self, looks: list[_Look], colours: list[str]
    ) -> None:
        """Puts the second object partly in front of the first."""
        rng = self.rng
        if looks[0].shape == 'crescent':
            # What is left of one behind another shape is hard to name.
            looks[0], looks[1] = looks[1], looks[0]
        self._tell_apart(looks, colours)
        back = self._make(looks[0], 0.5, 0.5)
        front = self._make(looks[1], 0.5, 0.5)
        angle = rng.uniform(0, 2 * math.pi)
        behind = back.radius * SHAPES[back.shape].reach_towards(
            angle - back.angle
        )
        ahead = front.radius * SHAPES[front.shape].reach_towards(
            angle + math.pi - front.angle
        )
        # Deep enough to be seen, so little that each stays recognisable.
        depth = rng.uniform(0.4, 0.6) * min(behind, ahead)
        apart = behind + ahead - depth
        dx, dy = apart * math.cos(angle) / 2, apart * math.sin(angle) / 2
        room = max(back.radius, front.radius)
        x = rng.uniform(room + abs(dx), 1 - room - abs(dx))
        y = rng.uniform(room + abs(dy), 1 - room - abs(dy))
        self.objects += [_moved(back, x - dx, y - dy)]
        self.objects += [_moved(front, x + dx, y + dy)]
        self.overlaps.append((1, 0))

    def place_inside(self, looks: list[_Look], colours: list[str]) -> None:
        """Puts a small second object inside a large first one."""
        rng = self.rng
        outer, inner = looks[0], looks[1]
        shape = outer.shape
        if not SHAPES[shape].holds:
            shape = rng.choice([s for s in SHAPES if SHAPES[s].holds])
        looks[0] = _Look(shape, outer.colour, 'plain', 'large')
        looks[1] = _Look(inner.shape, inner.colour, inner.texture, 'small')
        self._tell_apart(looks, colours)
        radius = rng.uniform(0.19, 0.24)
        x, y = self._point(radius)
        self.objects.append(self._make(looks[0], x, y, radius))
        small = min(0.8 * SHAPES[shape].holds * radius, SIZES['small'][1])
        self.objects.append(self._make(looks[1], x, y, small))
        self.inside.append((1, 0))

    def _tell_apart(self, looks: list[_Look], colours: list[str]) -> None:
        """Gives the first two colours that differ clearly."""
        first, second = looks[0], looks[1]
        there = COLOURS[first.colour]
        if _distance(there, COLOURS[second.colour]) > 1.2 * CONTRAST:
            return
        others = [
            name
            for name in colours
            if _distance(there, COLOURS[name]) > 1.2 * CONTRAST
        ]
        looks[1] = _Look(
            second.shape,
            self.rng.choice(others),
            second.texture,
            second.size,
        )

    def _make(
        self, look: _Look, x: float, y: float, radius: float | None = None
    ) -> SceneObject:
        rng = self.rng
        if radius is None:
            radius = rng.uniform(*SIZES[look.size])
        turn = SHAPES[look.shape].turn
        rgb = tuple(
            max(0, min(255, value + rng.randint(-10, 10)))
            for value in COLOURS[look.colour]
        )
        return SceneObject(
            look.shape,
            look.colour,
            look.texture,
            look.size,
            x,
            y,
            radius,
            rng.uniform(-turn, turn),
            rgb,
            _shade(rgb),
        )

    def _point(self, radius: float) -> tuple[float, float]:
        edge = radius + 0.01
        rng = self.rng
        return rng.uniform(edge, 1 - edge), rng.uniform(edge, 1 - edge)

    def _free(self, x: float, y: float, radius: float) -> bool:
        return all(
            (x - o.x) ** 2 + (y - o.y) ** 2 > (radius + o.radius + 0.015) ** 2
            for o in self.objects
        )


def _moved(thing: SceneObject, x: float, y: float) -> SceneObject:
    return SceneObject(
        thing.shape,
        thing.colour,
        thing.texture,
        thing.size,
        x,
        y,
        thing.radius,
        thing.angle,
        thing.rgb,
        thing.shade,
    )


def _distance(a: RGB, b: RGB) -> float:
    return math.dist(a, b)


def _shade(rgb: RGB) -> RGB:
    """A lighter tone of dark colours, a darker one of light colours."""
    bright = (2 * rgb[0] + 5 * rgb[1] + rgb[2]) / 8
    if bright > 120:
        return tuple(int(0.52 * value) for value in rgb)
    return tuple(int(255 - 0.45 * (255 - value)) for value in rgb)
