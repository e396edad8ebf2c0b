"""What a sentence leaves out of a scene: things, their looks, how they stand.

The other half of faults: who says little says little that is false.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from sparc_vlm.datasets.scenes.claims import (
    RELATIONS,
    Claim,
    Mention,
    Relation,
    related,
)
from sparc_vlm.datasets.scenes.layout import Scene
from sparc_vlm.datasets.scenes.vocabulary import TEXTURES

ATTRIBUTES = ('colour', 'texture', 'size')


@dataclass(frozen=True)
class Tally:
    """How much of what is there was not said.

    Attributes:
        shown: What is there.
        missed: What of it nobody said.
    """

    shown: int = 0
    missed: int = 0


def find_omissions(scene: Scene, claims: Iterable[Claim]) -> dict[str, Tally]:
    """What claims leave out of a scene, by kind.

    * objects: a mention names at most as many objects as it says, out of
      those that fit, so that 'a shape' does not stand for all. Mentions share
      the objects out among them as well as can be.
    * attributes: colour, size and any texture but plain of the objects that
      some mention names beyond doubt: as many as it says fit. Whatever one
      of these mentions says of it is said.
    * relations: pairs of objects that beyond doubt stand in one; it is said
      where a claim that holds is about the two.

    Args:
        scene: That is known.
        claims: Read from a sentence.
    """
    claims = list(claims)
    mentions = [mention for claim in claims for mention in mentions_in(claim)]
    shown = len(scene.objects)
    return {
        'objects': Tally(shown, shown - count_named(mentions, scene)),
        'attributes': _attributes(mentions, scene),
        'relations': _relations(claims, scene),
    }


def mentions_in(claim: Claim) -> list[Mention]:
    """The mentions in a claim.

    Args:
        claim: Any.
    """
    if isinstance(claim, Mention):
        return [claim]
    sides = (getattr(claim, name, None) for name in ('subject', 'object'))
    return [side for side in sides if isinstance(side, Mention)]


def count_named(mentions: Sequence[Mention], scene: Scene) -> int:
    """The most objects that mentions can stand for, each for its own.

    A maximum matching (Kuhn's way) of the scene's objects and the mentions,
    each of these as often as it counts; who says that there is none of
    something names nothing.

    Args:
        mentions: Any.
        scene: Whose objects are named.
    """
    most = len(scene.objects)
    places = [
        mention.find(scene)
        for mention in mentions
        for _ in range(min(mention.count, most))
    ]
    named: dict[int, int] = {}

    def give(place: int, tried: set[int]) -> bool:
        """Finds an object for a mention; who had it looks for another."""
        for thing in places[place]:
            if thing not in tried:
                tried.add(thing)
                if thing not in named or give(named[thing], tried):
                    named[thing] = place
                    return True
        return False

    return sum(give(place, set()) for place in range(len(places)))


def _attributes(mentions: Sequence[Mention], scene: Scene) -> Tally:
    shown = missed = 0
    sure = [m for m in mentions if len(m.find(scene)) <= m.count]
    for thing in scene.objects:
        own = [mention for mention in sure if mention.fits(thing)]
        for name in ATTRIBUTES:
            if own and getattr(thing, name) != TEXTURES[0]:
                shown += 1
                missed += all(getattr(m, name) is None for m in own)
    return Tally(shown, missed)


def _relations(claims: Sequence[Claim], scene: Scene) -> Tally:
    there = {
        frozenset(pair)
        for pair in combinations(range(len(scene.objects)), 2)
        if any(related(scene, *pair, name) for name in RELATIONS)
    }
    said = {
        frozenset(claim.subject.find(scene) + claim.object.find(scene))
        for claim in claims
        if isinstance(claim, Relation) and claim.holds(scene)
    }
    return Tally(len(there), len(there - said))
