"""False captions that differ from a true one of a scene in one thing.

Each contradicts the scene beyond doubt, makes sense by itself, and is drawn
so that what it says is about as common as what the true one says: which of
the two is true shows in the picture, not in the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from sparc_vlm.datasets.scenes.alterations import ALTERATIONS
from sparc_vlm.datasets.scenes.captions import Caption
from sparc_vlm.datasets.scenes.claims import (
    OPPOSITES,
    Claim,
    Mention,
    Place,
    Relation,
    related,
)
from sparc_vlm.datasets.scenes.layout import Scene


@dataclass(frozen=True, slots=True)
class Foil:
    """A true caption and a false one.

    Attributes:
        kind: One of `ALTERATIONS`.
        caption: True of the scene.
        foil: False of it, and else the same.
    """

    kind: str
    caption: Caption
    foil: Caption


def write_foils(
    scene: Scene, captions: Sequence[Caption], rng: Random
) -> list[Foil]:
    """A foil of each kind that a scene allows.

    Args:
        scene: What the captions are about.
        captions: True of it; each foil is made of one of them.
        rng: Which ones, and what is put in, comes from it.
    """
    foils = []
    for kind, alter in ALTERATIONS.items():
        order, seed = Random(rng.random()), rng.random()
        for caption in order.sample(captions, len(captions)):
            # The same draws for each caption: one that a scene's number is
            # too common for is no more allowed than another.
            for altered in alter(scene, caption, Random(seed)):
                if any(contradicts(c, scene) for c in altered.claims):
                    foils.append(Foil(kind, caption, altered))
                    break
            else:
                continue
            break
    return foils


def contradicts(claim: Claim, scene: Scene) -> bool:
    """Whether a claim is false of a scene beyond doubt.

    More is asked than that it does not hold: 'a red circle' is not false
    where there are two, nor 'above' where a slant could be called so.

    Args:
        claim: What is said.
        scene: What it is said of.
    """
    if isinstance(claim, Mention):
        count = len(claim.find(scene))
        return not count or (claim.count > 1 and count != claim.count)
    if isinstance(claim, Relation):
        sides = claim.subject, claim.object
        if any(contradicts(side, scene) for side in sides):
            return True
        first, second = (side.find(scene) for side in sides)
        if len(first) != 1 or len(second) != 1:
            return False
        return related(scene, first[0], second[0], OPPOSITES[claim.name])
    if isinstance(claim, Place):
        return contradicts(claim.subject, scene)
    return not claim.holds(scene)
