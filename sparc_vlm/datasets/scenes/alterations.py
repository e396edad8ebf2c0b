"""What may be changed in a caption of a scene, one thing at a time.

Each function goes through the captions that differ from a given one in a
thing of its kind and still make sense: nothing is said twice over, and an
object that is named in several places is left as it is, since words that
disagree would give the change away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from random import Random

from sparc_vlm.datasets.scenes.captions import Caption
from sparc_vlm.datasets.scenes.claims import (
    OPPOSITES,
    Claim,
    Mention,
    Relation,
    Total,
)
from sparc_vlm.datasets.scenes.layout import COUNTS, Scene, colours_on
from sparc_vlm.datasets.scenes.vocabulary import SHAPES, SIZES, TEXTURES

# How common each number is where it is said of all shapes, and of shapes
# that look alike: a rare one is not put for a common one each time.
_TOTALS = {2: 0.25, 3: 0.3, 4: 0.2, 5: 0.15}
_GROUPS = {2: 0.75, 3: 0.25}
_ATTRIBUTES = ('shape', 'colour', 'texture', 'size')
_NESTED = ('inside', 'around')


@dataclass(frozen=True, slots=True)
class _Site:
    """Where a caption mentions something: a claim, or a part of one."""

    claim: int
    part: str | None
    mention: Mention

    def saying(self, **attributes: str | int) -> _Site:
        """The same place with other attributes."""
        return replace(self, mention=replace(self.mention, **attributes))


def swapped(scene: Scene, caption: Caption, rng: Random) -> Iterator[Caption]:
    """Two objects exchange a colour, a texture or a size."""
    sites = _sites(scene, caption)
    pairs = list(combinations(sites, 2))
    for a, b in rng.sample(pairs, len(pairs)):
        attributes = ['colour', 'texture', 'size']
        for name in rng.sample(attributes, len(attributes)):
            ours, theirs = (getattr(s.mention, name) for s in (a, b))
            nested = _is_nested(caption, a) or _is_nested(caption, b)
            if not ours or not theirs or ours == theirs:
                continue
            if nested and name != 'colour':
                continue
            altered = _put(
                caption,
                a.saying(**{name: theirs}),
                b.saying(**{name: ours}),
            )
            # An article or another word for a size may change too.
            if altered and _bag(altered) == _bag(caption):
                yield altered


def recoloured(
    scene: Scene, caption: Caption, rng: Random
) -> Iterator[Caption]:
    """One mention gets another colour that the background allows."""
    colours = colours_on(scene.background)
    yield from _changed(scene, caption, rng, 'colour', colours)


def resized(scene: Scene, caption: Caption, rng: Random) -> Iterator[Caption]:
    """Small becomes large, or large small."""
    yield from _changed(scene, caption, rng, 'size', list(SIZES))


def replaced(scene: Scene, caption: Caption, rng: Random) -> Iterator[Caption]:
    """One mention gets another shape."""
    yield from _changed(scene, caption, rng, 'shape', list(SHAPES))


def _changed(
    scene: Scene, caption: Caption, rng: Random, name: str, values: list[str]
) -> Iterator[Caption]:
    sites = _sites(scene, caption)
    for site in rng.sample(sites, len(sites)):
        old = getattr(site.mention, name)
        # What is inside is small, and few shapes hold others: words tell.
        if not old or (name != 'colour' and _is_nested(caption, site)):
            continue
        for value in rng.sample(values, len(values)):
            if value != old:
                altered = _put(caption, site.saying(**{name: value}))
                if altered:
                    yield altered


def recounted(
    scene: Scene, caption: Caption, rng: Random
) -> Iterator[Caption]:
    """A number of two or more becomes one more or one less."""
    step, luck = rng.choice((-1, 1)), rng.random()
    named = len(_named(scene, caption))
    total = next((c for c in caption.claims if isinstance(c, Total)), None)
    if total:
        count = total.count + step
        common = _TOTALS.get(total.count), _TOTALS.get(count)
        if all(common) and count >= named and luck * common[0] < common[1]:
            at = caption.claims.index(total)
            yield _with_claim(caption, at, Total(count))
    most = total.count if total else max(COUNTS)
    for site in _sites(scene, caption):
        count = site.mention.count + step
        common = _GROUPS.get(site.mention.count), _GROUPS.get(count)
        if (
            all(common)
            and named + step <= most
            and (luck * common[0] < common[1])
        ):
            yield _with(caption, site.saying(count=count))


def related_otherwise(
    scene: Scene, caption: Caption, rng: Random
) -> Iterator[Caption]:
    """A relation becomes its opposite."""
    alone = {(site.claim, site.part) for site in _sites(scene, caption)}
    for at, claim in enumerate(caption.claims):
        if not isinstance(claim, Relation):
            continue
        if {(at, 'subject'), (at, 'object')} <= alone and _reversible(claim):
            opposite = replace(claim, name=OPPOSITES[claim.name])
            yield _with_claim(caption, at, opposite)


def added(scene: Scene, caption: Caption, rng: Random) -> Iterator[Caption]:
    """An object that is not there joins a list, named as the others are."""
    listed = [c for c in caption.claims if isinstance(c, Mention)]
    if any(isinstance(c, Total) for c in caption.claims) or not listed:
        return
    if len(_named(scene, caption)) >= max(COUNTS):
        return
    colours = colours_on(scene.background)
    for _ in range(20):
        model = rng.choice(listed)
        mention = Mention(
            1,
            shape=model.shape and rng.choice(list(SHAPES)),
            colour=model.colour and rng.choice(colours),
            texture=model.texture and rng.choice(TEXTURES),
            size=model.size and rng.choice(list(SIZES)),
        )
        place = rng.randint(0, len(listed))
        altered = caption.insert(place, mention, rng.randrange(6))
        changed = [_Site(place, None, mention)]
        if not mention.find(scene) and _makes_sense(altered, changed):
            yield altered


def _all_sites(caption: Caption) -> Iterator[_Site]:
    for at, claim in enumerate(caption.claims):
        if isinstance(claim, Mention):
            yield _Site(at, None, claim)
        for part in ('subject', 'object'):
            if isinstance(mention := getattr(claim, part, None), Mention):
                yield _Site(at, part, mention)


def _named(scene: Scene, caption: Caption) -> set[int]:
    """The objects that a caption names."""
    sites = _all_sites(caption)
    return {index for site in sites for index in site.mention.find(scene)}


def _sites(scene: Scene, caption: Caption) -> list[_Site]:
    """Where objects are mentioned that no other part of it mentions."""
    sites = list(_all_sites(caption))
    found = [set(site.mention.find(scene)) for site in sites]
    return [
        site
        for at, site in enumerate(sites)
        if not any(
            found[at] & other for o, other in enumerate(found) if o != at
        )
    ]


def _is_nested(caption: Caption, site: _Site) -> bool:
    claim = caption.claims[site.claim]
    return isinstance(claim, Relation) and claim.name in _NESTED


def _reversible(claim: Relation) -> bool:
    """Whether the words allow the relation the other way round."""
    sides = claim.subject, claim.object
    if claim.name in _NESTED:
        # What is around is large, plain, and of a shape with room in it.
        return not any(
            side.size
            or side.texture
            or (side.shape and not SHAPES[side.shape].holds)
            for side in sides
        )
    # A crescent is never behind.
    overlapping = claim.name in ('in front of', 'behind')
    return not (overlapping and 'crescent' in {s.shape for s in sides})


def _put(caption: Caption, *sites: _Site) -> Caption | None:
    """The caption with other mentions, or None where it makes no sense."""
    altered = _with(caption, *sites)
    return altered if _makes_sense(altered, sites) else None


def _with(caption: Caption, *sites: _Site) -> Caption:
    claims = list(caption.claims)
    for site in sites:
        claim: Claim = site.mention
        if site.part:
            claim = replace(claims[site.claim], **{site.part: site.mention})
        claims[site.claim] = claim
    return replace(caption, claims=tuple(claims))


def _with_claim(caption: Caption, at: int, claim: Claim) -> Caption:
    claims = (*caption.claims[:at], claim, *caption.claims[at + 1 :])
    return replace(caption, claims=claims)


def _makes_sense(caption: Caption, changed: Sequence[_Site]) -> bool:
    """Whether no other mention says the same as a changed one, or more.

    A caption that names 'a red shape' does not go on to 'a red circle'.
    """
    return not any(
        _covers(site.mention, other.mention)
        or _covers(other.mention, site.mention)
        for site in changed
        for other in _all_sites(caption)
        if (other.claim, other.part) != (site.claim, site.part)
    )


def _covers(one: Mention, other: Mention) -> bool:
    """Whether all that fits the other fits the one too."""
    return all(
        getattr(one, name) in (None, getattr(other, name))
        for name in _ATTRIBUTES
    )


def _bag(caption: Caption) -> list[str]:
    return sorted(caption.text.replace(',', ' ').split())


ALTERATIONS: dict[
    str, Callable[[Scene, Caption, Random], Iterator[Caption]]
] = {
    'swap_attributes': swapped,
    'change_colour': recoloured,
    'change_count': recounted,
    'change_relation': related_otherwise,
    'change_size': resized,
    'replace_object': replaced,
    'add_object': added,
}
