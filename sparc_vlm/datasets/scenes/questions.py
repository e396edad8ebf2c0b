"""Questions about a drawn scene, each with exactly one right answer.

What could be answered in two ways is not asked: a thing is named so that it
can be nothing else, and what stands between left and middle is not asked for
its place. Presence is asked twice a scene, once for yes and once for no, so
that neither pays as a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from sparc_vlm.datasets.scenes.claims import (
    NUMBERS,
    RELATIONS,
    Mention,
    related,
)
from sparc_vlm.datasets.scenes.layout import Scene, SceneObject, colours_on
from sparc_vlm.datasets.scenes.vocabulary import SHAPES

_WORDINGS = {
    'colour': (
        'What colour is the {}?',
        'Which colour does the {} have?',
        'The {} is of what colour?',
    ),
    'shape': (
        'What is the {}?',
        'Which shape is the {}?',
        'What kind of shape is the {}?',
    ),
    'texture': (
        'Is the {} plain, striped, dotted or checkered?',
        'What pattern does the {} have?',
        'How is the {} filled?',
    ),
    'size': (
        'What size is the {}?',
        'Is the {} small or large?',
        'How big is the {}?',
    ),
    'count': (
        'How many {} are there?',
        'How many {} can you see?',
        'What is the number of {} in the picture?',
    ),
    'presence': (
        'Is there {}?',
        'Is there {} in the picture?',
        'Can you see {}?',
        'Does the picture show {}?',
    ),
    'place': (
        'Where is the {}?',
        'Where in the picture is the {}?',
        'In which part of the picture is the {}?',
    ),
    'relation': (
        'Where is the {} in relation to the {}?',
        'Where does the {} stand, seen from the {}?',
        'The {} is where, compared with the {}?',
    ),
}
KINDS = tuple(_WORDINGS)
_ATTRIBUTES = ('shape', 'colour', 'texture', 'size')


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a scene.

    Attributes:
        kind: One of `KINDS`.
        text: The question.
        answer: In one to three words, in small letters.
    """

    kind: str
    text: str
    answer: str


def write_questions(scene: Scene, rng: Random) -> list[Question]:
    """A question of each kind that a scene allows, of presence two.

    Args:
        scene: What is asked about.
        rng: What is asked and how comes from it.
    """
    asker = _Asker(scene, rng)
    questions = [
        *(asker.attribute(name) for name in _ATTRIBUTES),
        asker.count(),
        asker.presence('yes'),
        asker.presence('no'),
        asker.place(),
        asker.relation(),
    ]
    return [question for question in questions if question]


def place_of(thing: SceneObject) -> str | None:
    """The one part of the picture that an object is in, of nine.

    Returns:
        One of `PLACES`, or None for what stands between two of them.
    """
    across = _third(thing.x, ('left', '', 'right'))
    down = _third(thing.y, ('top', '', 'bottom'))
    if across is None or down is None:
        return None
    return f'{down} {across}'.strip() or 'middle'


def _third(at: float, names: tuple[str, str, str]) -> str | None:
    """The name of a third of the side, None in between."""
    ranges = ((0.0, 0.33), (0.4, 0.6), (0.67, 1.0))
    for name, (low, high) in zip(names, ranges, strict=True):
        if low < at < high:
            return name
    return None


class _Asker:
    """Picks what to ask about one scene."""

    def __init__(self, scene: Scene, rng: Random) -> None:
        self.scene = scene
        self.rng = rng

    def attribute(self, asked: str) -> Question | None:
        """What colour, shape, texture or size something has."""
        for index in self._shuffled():
            mention = self._name(index, without=asked)
            if mention:
                thing = self.scene.objects[index]
                return self._ask(asked, getattr(thing, asked), mention.words())
        return None

    def count(self) -> Question:
        """How many there are that look like something, often of all."""
        rng = self.rng
        thing = rng.choice(self.scene.objects)
        said = {
            name: getattr(thing, name)
            for name in ('shape', 'colour')
            if rng.random() < 0.5
        }
        if 'shape' in said and rng.random() < 0.2:
            # What is not there can be counted too.
            said['shape'] = rng.choice(tuple(SHAPES))
        several = Mention(2, **said)
        number = NUMBERS[len(several.find(self.scene))]
        return self._ask('count', number, several.words())

    def presence(self, answer: str) -> Question | None:
        """Whether something is there.

        What is not there differs in colour or shape from what is, so that
        no common word alone gives the answer away.
        """
        rng = self.rng
        for _ in range(20):
            thing = rng.choice(self.scene.objects)
            said = {'shape': thing.shape, 'colour': thing.colour}
            if rng.random() < 0.2:
                said['size'] = thing.size
            if answer == 'no':
                if rng.random() < 0.5:
                    said['shape'] = rng.choice(tuple(SHAPES))
                else:
                    colours = colours_on(self.scene.background)
                    said['colour'] = rng.choice(colours)
            mention = Mention(1, **said)
            if bool(mention.find(self.scene)) == (answer == 'yes'):
                words = mention.words()
                article = 'an' if words[0] in 'aeiou' else 'a'
                return self._ask('presence', answer, f'{article} {words}')
        return None

    def place(self) -> Question | None:
        """In which part of the picture something is."""
        for index in self._shuffled():
            where = place_of(self.scene.objects[index])
            mention = where and self._name(index)
            if mention:
                return self._ask('place', where, mention.words())
        return None

    def relation(self) -> Question | None:
        """How something stands to another, where one word alone says it."""
        for first in self._shuffled():
            for second in self._shuffled():
                names = [
                    name
                    for name in RELATIONS
                    if first != second
                    and related(self.scene, first, second, name)
                ]
                sides = [self._name(index) for index in (first, second)]
                if len(names) == 1 and all(sides):
                    words = (side.words() for side in sides)
                    answer = names[0].removesuffix(' of')
                    return self._ask('relation', answer, *words)
        return None

    def _ask(self, kind: str, answer: str, *words: str) -> Question:
        wording = self.rng.choice(_WORDINGS[kind])
        return Question(kind, wording.format(*words), answer)

    def _shuffled(self) -> list[int]:
        count = len(self.scene.objects)
        return self.rng.sample(range(count), count)

    def _name(self, index: int, without: str = '') -> Mention | None:
        """Names an object so that no other fits, by few attributes.

        Args:
            index: Which object.
            without: An attribute that must not be said.

        Returns:
            None where others look the same.
        """
        thing = self.scene.objects[index]
        said: dict[str, str] = {}
        for name in self._order(without):
            said[name] = getattr(thing, name)
            mention = Mention(1, **said)
            if mention.holds(self.scene) and self.rng.random() < 0.7:
                break
        return mention if mention.holds(self.scene) else None

    def _order(self, without: str) -> Iterator[str]:
        """Attributes in the order to be said: shape, colour, then others."""
        yield from (n for n in _ATTRIBUTES[:2] if n != without)
        rest = [n for n in _ATTRIBUTES[2:] if n != without]
        yield from self.rng.sample(rest, len(rest))
