"""What a caption says about a scene, in a form that can be checked.

Every drawn caption is a list of claims and a way to word them, so that a
claim can be altered and the caption worded again: false captions that differ
in one thing, questions with known answers, exact scores for what a captioner
invents.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparc_vlm.datasets.scenes.layout import Scene, SceneObject

NUMBERS = ('zero', 'one', 'two', 'three', 'four', 'five')
PLURALS = {'cross': 'crosses'}
OPPOSITES = {
    'left of': 'right of',
    'right of': 'left of',
    'above': 'below',
    'below': 'above',
    'in front of': 'behind',
    'behind': 'in front of',
    'inside': 'around',
    'around': 'inside',
}
RELATIONS = tuple(OPPOSITES)
PLACES = (
    'top left',
    'top right',
    'bottom left',
    'bottom right',
    'left',
    'right',
    'top',
    'bottom',
    'middle',
)


@dataclass(frozen=True, slots=True)
class Mention:
    """Some objects of a scene, by what they look like.

    Attributes:
        count: How many; the mention is true if exactly as many match.
        shape: One of `SHAPES`, or None for 'shape'.
        colour: One of `COLOURS`, or None where it is not said.
        texture: One of `TEXTURES`, or None.
        size: One of `SIZES`, or None.
    """

    count: int
    shape: str | None = None
    colour: str | None = None
    texture: str | None = None
    size: str | None = None

    def fits(self, thing: SceneObject) -> bool:
        """Whether an object has every attribute that is said."""
        return (
            self.shape in (None, thing.shape)
            and self.colour in (None, thing.colour)
            and self.texture in (None, thing.texture)
            and self.size in (None, thing.size)
        )

    def find(self, scene: Scene) -> list[int]:
        """Indices of the objects that fit."""
        return [i for i, o in enumerate(scene.objects) if self.fits(o)]

    def holds(self, scene: Scene) -> bool:
        """Whether exactly `count` objects of the scene fit."""
        return len(self.find(scene)) == self.count

    def words(self, size: str | None = None) -> str:
        """Attributes and noun without an article.

        Args:
            size: Another word for the size.
        """
        noun = self.shape or 'shape'
        if self.count != 1:
            noun = PLURALS.get(noun, noun + 's')
        size = self.size and (size or self.size)
        parts = (size, self.texture, self.colour, noun)
        return ' '.join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Relation:
    """One object stands somewhere in relation to another.

    Attributes:
        subject: Fits one object.
        name: One of `RELATIONS`.
        object: Fits one other object.
    """

    subject: Mention
    name: str
    object: Mention

    def holds(self, scene: Scene) -> bool:
        """Whether both are there, once each, and stand like this."""
        subjects, objects = self.subject.find(scene), self.object.find(scene)
        if len(subjects) != 1 or len(objects) != 1:
            return False
        return related(scene, subjects[0], objects[0], self.name)

    def swapped(self) -> Relation:
        """The same words with subject and object changed over: false."""
        return Relation(self.object, self.name, self.subject)


@dataclass(frozen=True, slots=True)
class Place:
    """One object stands in a part of the picture.

    Attributes:
        subject: Fits one object.
        where: One of `PLACES`.
    """

    subject: Mention
    where: str

    def holds(self, scene: Scene) -> bool:
        """Whether the object is there, once, and stands in that part."""
        found = self.subject.find(scene)
        return len(found) == 1 and stands(scene.objects[found[0]], self.where)


@dataclass(frozen=True, slots=True)
class Total:
    """How many objects there are in all."""

    count: int

    def holds(self, scene: Scene) -> bool:
        """Whether the scene has so many."""
        return len(scene.objects) == self.count


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What the background is, as `Background.phrase` words it."""

    phrase: str

    def holds(self, scene: Scene) -> bool:
        """Whether the scene has that background."""
        return scene.background.phrase == self.phrase


Claim = Mention | Relation | Place | Total | Backdrop


def forwards(first: int, second: int, name: str) -> tuple[int, int, str]:
    """The same relation as 'left of', 'above', 'in front of' or 'inside'.

    Args:
        first: Index of the one that stands right of, below, ... the other.
        second: Index of the other.
        name: One of `RELATIONS`.
    """
    if name in ('right of', 'below', 'behind', 'around'):
        return second, first, OPPOSITES[name]
    return first, second, name


def related(scene: Scene, first: int, second: int, name: str) -> bool:
    """Whether an object stands in a relation to another, beyond doubt.

    Args:
        scene: Where both stand.
        first: Index of the one that stands left of, above, ... the other.
        second: Index of the other.
        name: One of `RELATIONS`.
    """
    first, second, name = forwards(first, second, name)
    if name == 'in front of':
        return (first, second) in scene.overlaps
    if name == 'inside':
        return (first, second) in scene.inside
    a, b = scene.objects[first], scene.objects[second]
    across, down = b.x - a.x, b.y - a.y
    if name == 'above':
        across, down = down, across
    # A slant of more than 34 degrees could be called either way.
    return across > 0.15 and across > 1.5 * abs(down)


def stands(thing: SceneObject, where: str) -> bool:
    """Whether an object is in a part of the picture, beyond doubt."""
    if where == 'middle':
        return abs(thing.x - 0.5) < 0.1 and abs(thing.y - 0.5) < 0.1
    inside = {
        'left': thing.x < 0.33,
        'right': thing.x > 0.67,
        'top': thing.y < 0.33,
        'bottom': thing.y > 0.67,
    }
    return all(inside[side] for side in where.split())
