"""What a sentence says of a scene that is not so, and what it leaves out.

The scene is known to the last attribute, so that a captioner's inventions
are counted exactly, by what they are about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sparc_vlm.datasets.scenes.claims import (
    Backdrop,
    Claim,
    Mention,
    Place,
    Relation,
    Total,
    forwards,
    related,
    stands,
)
from sparc_vlm.datasets.scenes.layout import Scene, SceneObject
from sparc_vlm.datasets.scenes.omissions import (
    ATTRIBUTES,
    Tally,
    find_omissions,
    mentions_in,
)
from sparc_vlm.datasets.scenes.reading import read_claims

KINDS = ('objects', 'attributes', 'counts', 'relations', 'background')


@dataclass(frozen=True)
class Faults:
    """What was said of a scene, by kind.

    Attributes:
        said: How often something of each kind in `KINDS` was said that can be
            told to be true or false.
        false: How often it was false.
        invented: The words of every claim with something false in it.
        omissions: What is there, and how much of it was not said.
        words: Number of words of the sentence.
        unread: How many of these say nothing about scenes.
    """

    said: dict[str, int] = field(default_factory=dict)
    false: dict[str, int] = field(default_factory=dict)
    invented: list[str] = field(default_factory=list)
    omissions: dict[str, Tally] = field(default_factory=dict)
    words: int = 0
    unread: int = 0

    @property
    def is_silent(self) -> bool:
        """Whether nothing was said that could be false."""
        return not any(self.said.values())

    @property
    def named(self) -> int:
        """How many of the scene's objects were named."""
        objects = self.omissions['objects']
        return objects.shown - objects.missed


def find_faults(scene: Scene, text: str) -> Faults:
    """Checks what a sentence says of a scene.

    * objects: a mention is false where nothing of its shape is there; one of
      any shape, where nothing looks like it.
    * attributes: colour, texture and size of a mention whose shape is there;
      false are those that the most similar object of that shape lacks.
    * counts: numbers above one, and totals.
    * relations: where things stand to each other, or in the picture. They
      are judged where both are there once, and beyond doubt; what could be
      called either way counts as said by nobody.
    * background: as it is worded.

    What is left out, see `find_omissions`.

    Args:
        scene: That is known.
        text: In the words of `write_captions`, as far as it is to be read.
    """
    reading = read_claims(text)
    said: Counter[str] = Counter()
    false: Counter[str] = Counter()
    invented = []
    for claim, words in zip(reading.claims, reading.texts, strict=True):
        verdicts = list(_verdicts(claim, scene))
        said.update(kind for kind, _ in verdicts)
        false.update(kind for kind, is_false in verdicts if is_false)
        if any(is_false for _, is_false in verdicts):
            invented.append(words)
    return Faults(
        {kind: said[kind] for kind in KINDS},
        {kind: false[kind] for kind in KINDS},
        invented,
        find_omissions(scene, reading.claims),
        reading.words,
        len(reading.unread),
    )


def _verdicts(claim: Claim, scene: Scene) -> Iterator[tuple[str, bool]]:
    """The kinds of a claim's parts, and whether each part is false."""
    for mention in mentions_in(claim):
        yield from _of_mention(mention, scene)
    if isinstance(claim, Total):
        yield 'counts', not claim.holds(scene)
    elif isinstance(claim, Backdrop):
        yield 'background', not claim.holds(scene)
    elif isinstance(claim, Relation):
        found = [s.find(scene) for s in (claim.subject, claim.object)]
        if all(len(places) == 1 for places in found):
            (first,), (second,) = found
            is_false = unrelated(scene, first, second, claim.name)
            if is_false or related(scene, first, second, claim.name):
                yield 'relations', is_false
    elif isinstance(claim, Place):
        found = claim.subject.find(scene)
        if len(found) == 1:
            thing = scene.objects[found[0]]
            is_false = elsewhere(thing, claim.where)
            if is_false or stands(thing, claim.where):
                yield 'relations', is_false


def _of_mention(mention: Mention, scene: Scene) -> Iterator[tuple[str, bool]]:
    """Whether the thing, each of its attributes, and its number are false."""
    alike = [o for o in scene.objects if mention.shape in (None, o.shape)]
    if mention.shape is None and mention.count:
        # Nothing but its attributes says what it is.
        yield 'objects', not mention.find(scene)
    elif mention.count:
        yield 'objects', not alike
        lacking = [_lacking(mention, thing) for thing in alike]
        wrong = min(lacking, key=len, default=[])
        for name in ATTRIBUTES:
            if alike and getattr(mention, name):
                yield 'attributes', name in wrong
    if mention.count > 1:
        found = len(mention.find(scene))
        if found:
            yield 'counts', found != mention.count
    elif mention.count == 0:
        yield 'counts', bool(mention.find(scene))


def _lacking(mention: Mention, thing: SceneObject) -> list[str]:
    """Attributes of a mention that a thing does not have."""
    return [
        name
        for name in ATTRIBUTES
        if getattr(mention, name) not in (None, getattr(thing, name))
    ]


def unrelated(scene: Scene, first: int, second: int, name: str) -> bool:
    """Whether an object is beyond doubt not in a relation to another.

    What stands apart is neither in front of the other nor inside it; what is
    partly covered could be called inside, what is inside could be called in
    front, and what is neither left nor right of the other is not judged.

    Args:
        scene: Where both stand.
        first: Index of the one that is said to stand left of, above, ...
        second: Index of the other; a thing is not judged by itself.
        name: One of `RELATIONS`.
    """
    first, second, name = forwards(first, second, name)
    if first == second:
        return False
    pair = first, second
    if name == 'inside':
        touching = pair in scene.overlaps or pair[::-1] in scene.overlaps
        return pair not in scene.inside and not touching
    if name == 'in front of':
        return pair not in scene.overlaps + scene.inside
    a, b = scene.objects[first], scene.objects[second]
    ahead = b.y - a.y if name == 'above' else b.x - a.x
    return ahead < -0.05


def elsewhere(thing: SceneObject, where: str) -> bool:
    """Whether an object is beyond doubt not in a part of the picture.

    Args:
        thing: Some object.
        where: One of `PLACES`.
    """
    if where == 'middle':
        return max(abs(thing.x - 0.5), abs(thing.y - 0.5)) > 0.17
    away = {
        'left': thing.x > 0.4,
        'right': thing.x < 0.6,
        'top': thing.y > 0.4,
        'bottom': thing.y < 0.6,
    }
    return any(away[side] for side in where.split())
