"""Captions of a drawn scene: which claims are made, and in what words.

Five a scene, from 'a red circle' to 40 words with counts, relations and the
background. Only claims that hold are made, and whoever stands in a relation
is named so that it can be nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from sparc_vlm.datasets.scenes.claims import (
    NUMBERS,
    PLACES,
    RELATIONS,
    Backdrop,
    Claim,
    Mention,
    Place,
    Relation,
    Total,
    related,
    stands,
)
from sparc_vlm.datasets.scenes.layout import Scene

LONGEST = 40
STYLES = ('mixed', 'full')
SIZE_WORDS = {'small': ('small', 'little', 'tiny'), 'large': ('large', 'big')}
RELATION_WORDS = {
    'left of': ('left of', 'to the left of', 'on the left of'),
    'right of': ('right of', 'to the right of', 'on the right of'),
    'above': ('above', 'higher up than'),
    'below': ('below', 'lower down than', 'under'),
    'in front of': ('in front of', 'partly covering'),
    'behind': ('behind', 'partly hidden by'),
    'inside': ('inside', 'within'),
    'around': ('around', 'surrounding'),
}
PLACE_WORDS = {
    'middle': ('in the middle', 'at the centre'),
    'left': ('on the left', 'at the left edge'),
    'right': ('on the right', 'at the right edge'),
    'top': ('at the top', 'near the top'),
    'bottom': ('at the bottom', 'near the bottom'),
}
_OPENINGS = ('', '', '', 'a picture of ', 'an image with ', 'you can see ')
_TOTALS = ('{} in all', 'a picture with {}', '{} can be seen')
# Both sizes and all relations take a digit of one base: putting one for the
# other leaves the rest of the wording as it is.
_SYNONYMS = 6
# Attributes in the order in which they are added until a name is unique.
_ATTRIBUTES = ('colour', 'shape', 'texture', 'size')


@dataclass(frozen=True, slots=True)
class Caption:
    """Claims and the wording they are put in.

    Attributes:
        claims: What is said, in order.
        wording: Which words and turns of phrase; the same wording of other
            claims of the same kinds differs in those claims alone.
    """

    claims: tuple[Claim, ...]
    wording: int

    @property
    def text(self) -> str:
        """The caption in words."""
        words = _Words(self.wording)
        parts = [words.say(claim) for claim in self.claims]
        listed, others = [], []
        for claim, part in zip(self.claims, parts, strict=True):
            (listed if isinstance(claim, Mention) else others).append(part)
        opening = words.pick(_OPENINGS)
        if not listed:
            return ', '.join(others)
        text = opening + _join(listed, words.pick((' and ', ' with ')))
        return ', '.join([text, *others])

    def holds(self, scene: Scene) -> bool:
        """Whether every claim is true of a scene."""
        return all(claim.holds(scene) for claim in self.claims)


class _Words:
    """Chooses words by the digits of a number."""

    def __init__(self, wording: int) -> None:
        self.state = wording

    def pick(self, options: Sequence[str]) -> str:
        self.state, place = divmod(self.state, len(options))
        return options[place]

    def say(self, claim: Claim) -> str:
        if isinstance(claim, Mention):
            return self.some(claim)
        if isinstance(claim, Relation):
            return self.relation(claim)
        if isinstance(claim, Place):
            place = self.place(claim.where)
            return f'{self.some(claim.subject)} {place}'
        if isinstance(claim, Total):
            total = self.some(Mention(claim.count))
            return self.pick(_TOTALS).format(total)
        return claim.phrase

    def some(self, mention: Mention, article: str = 'a') -> str:
        """The mention with its number or article."""
        self.state, synonym = divmod(self.state, _SYNONYMS)
        size = None
        if mention.size:
            synonyms = SIZE_WORDS[mention.size]
            size = synonyms[synonym % len(synonyms)]
        words = mention.words(size)
        if mention.count != 1:
            return f'{NUMBERS[mention.count]} {words}'
        if article == 'a' and words[0] in 'aeiou':
            article = 'an'
        return f'{article} {words}'

    def relation(self, claim: Relation) -> str:
        self.state, synonym = divmod(self.state, _SYNONYMS)
        names = RELATION_WORDS[claim.name]
        name = names[synonym % len(names)]
        form = self.pick(('a', 'is', 'turned'))
        if form == 'a':
            subject, other = self.some(claim.subject), self.some(claim.object)
            return f'{subject} {name} {other}'
        subject = self.some(claim.subject, 'the')
        other = self.some(claim.object, 'the')
        if form == 'is':
            return f'{subject} is {name} {other}'
        return f'{name} {other} is {subject}'

    def place(self, where: str) -> str:
        self.state, synonym = divmod(self.state, 2)
        if where in PLACE_WORDS:
            return PLACE_WORDS[where][synonym]
        return f'in the {where}{("", " corner")[synonym]}'


def _join(parts: list[str], last: str) -> str:
    if len(parts) == 1:
        return parts[0]
    return ', '.join(parts[:-1]) + last + parts[-1]


def write_captions(
    scene: Scene, rng: Random, style: str = 'mixed'
) -> list[Caption]:
    """Five captions of a scene.

    Args:
        scene: What they are about; every claim in them holds.
        rng: What they say and how comes from it.
        style: 'mixed' is short and long ones, of things, places and
            relations; 'full' names the objects, as good as all of them, and
            the background, so that captions differ little in what they tell.
    """
    writer = _Writer(scene, rng)
    if style == 'full':
        return [
            Caption(tuple(writer.full()), rng.getrandbits(160))
            for _ in range(5)
        ]
    kinds = [writer.short, writer.list, writer.placed, writer.long]
    if writer.relations:
        kinds += [writer.relation, writer.relation]
    kinds += [rng.choice(kinds) for _ in range(5 - min(5, len(kinds)))]
    rng.shuffle(kinds)
    captions = []
    for kind in kinds[:5]:
        captions.append(Caption(tuple(kind()), rng.getrandbits(160)))
    return captions


class _Writer:
    """Picks what to say about one scene."""

    def __init__(self, scene: Scene, rng: Random) -> None:
        self.scene = scene
        self.rng = rng
        things = scene.objects
        self.things = range(len(things))
        # Those that look exactly alike can only be named together.
        self.alone = [
            i
            for i in self.things
            if not any(_alike(things[i], things[j], i, j) for j in self.things)
        ]
        self.relations = list(self._relations())

    def _relations(self) -> Iterator[tuple[int, str, int]]:
        for i in self.alone:
            for j in self.alone:
                if i != j:
                    for name in RELATIONS:
                        if related(self.scene, i, j, name):
                            yield i, name, j

    def name(self, index: int, unique: bool = False) -> Mention:
        """Names an object by some of its attributes.

        Args:
            index: Which object.
            unique: Add attributes until no other object fits; otherwise
                all that fit are counted.
        """
        rng, thing = self.rng, self.scene.objects[index]
        said = {'shape': thing.shape}
        if rng.random() < 0.8:
            said['colour'] = thing.colour
        if rng.random() < 0.3:
            said['texture'] = thing.texture
        if rng.random() < 0.3:
            said['size'] = thing.size
        if 'colour' in said and rng.random() < 0.06:
            del said['shape']
        for attribute in _ATTRIBUTES:
            mention = Mention(1, **said)
            count = len(mention.find(self.scene))
            if count == 1 or not unique:
                break
            said[attribute] = getattr(thing, attribute)
        mention = Mention(1, **said)
        return Mention(len(mention.find(self.scene)), **said)

    def short(self) -> list[Claim]:
        return [self.name(self.rng.choice(self.things))]

    def list(self, most: int = 3) -> list[Claim]:
        """Names several objects, no object twice; often not all of them."""
        rng = self.rng
        order = list(self.things)
        rng.shuffle(order)
        claims, named = [], set()
        for index in order:
            if index in named or len(claims) == most:
                continue
            mention = self.name(index, unique=index in self.alone)
            found = set(mention.find(self.scene))
            if not found & named:
                named |= found
                claims.append(mention)
        if rng.random() < 0.3:
            claims.append(Backdrop(self.scene.background.phrase))
        return claims

    def full(self) -> list[Claim]:
        """Names the objects and the background."""
        claims = self.list(most=len(self.things))
        backdrop = Backdrop(self.scene.background.phrase)
        return claims if backdrop in claims else [*claims, backdrop]

    def placed(self) -> list[Claim]:
        """Says where one or two objects stand, if that can be said."""
        rng = self.rng
        claims: list[Claim] = []
        for index in rng.sample(self.alone, len(self.alone))[:2]:
            thing = self.scene.objects[index]
            where = next((w for w in PLACES if stands(thing, w)), None)
            if where:
                claims.append(Place(self.name(index, True), where))
        if not claims or rng.random() < 0.2:
            claims.append(Total(len(self.things)))
        if rng.random() < 0.3:
            claims.append(Backdrop(self.scene.background.phrase))
        return claims

    def relation(self) -> list[Claim]:
        claims: list[Claim] = [self._relation()]
        if self.rng.random() < 0.2:
            claims.append(Backdrop(self.scene.background.phrase))
        return claims

    def _relation(self) -> Relation:
        # Overlaps are rarer than places side by side, and tell more.
        near = [r for r in self.relations if r[1] not in RELATIONS[:4]]
        if near and self.rng.random() < 0.6:
            first, name, second = self.rng.choice(near)
        else:
            first, name, second = self.rng.choice(self.relations)
        return Relation(self.name(first, True), name, self.name(second, True))

    def long(self) -> list[Claim]:
        """All objects, relations and the background, up to 40 words."""
        claims = self.list(most=5)
        backdrop = Backdrop(self.scene.background.phrase)
        if backdrop in claims:
            claims.remove(backdrop)
        if self.relations:
            claims.append(self._relation())
        claims += self.placed()
        said: list[Claim] = []
        room = LONGEST
        for claim in claims:
            room -= _WORDS[type(claim)]
            if isinstance(claim, Mention):
                room += 2 - bool(claim.size) - bool(claim.texture)
            if claim not in said and room >= 0:
                said.append(claim)
        return said


# The most words of a claim, with the opening's share.
_WORDS = {Mention: 6, Relation: 15, Place: 10, Total: 5, Backdrop: 6}


def _alike(a: object, b: object, i: int, j: int) -> bool:
    return i != j and all(
        getattr(a, name) == getattr(b, name) for name in _ATTRIBUTES
    )
