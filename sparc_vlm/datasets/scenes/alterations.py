"""What may be changed in a caption of a scene, one thing at a time.

Each function goes through the captions that differ from a given one in a
thing of its kind and still make sense: nothing is said twice over, and an
object that is named in several places is left as it is, since words that
disagree would give the change away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from random import Random

from sparc_vlm.datasets.scenes.captions import Caption
from sparc_vlm.datasets.scenes.claims import (
    OPPOSITES,
    Place,
    Relation,
    Total,
)
from sparc_vlm.datasets.scenes.layout import COUNTS, Scene, colours_on
from sparc_vlm.datasets.scenes.sites import (
    NESTED,
    is_nested,
    lone_sites,
    named_things,
    put,
    put_anyhow,
    put_claim,
)
from sparc_vlm.datasets.scenes.vocabulary import (
    COLOURS,
    SHAPES,
    SIZES,
    TEXTURES,
)

# How common each number is where it is said of all shapes, and of shapes
# that look alike: a rare one is not put for a common one each time.
_TOTALS = {2: 0.3, 3: 0.29, 4: 0.17, 5: 0.12}
_GROUPS = {2: 0.75, 3: 0.25}
# Large objects per small one: the last of a scene find less room.
_LARGE = 0.95
# Share of the objects whose texture is plain before any is drawn.
_PLAIN = 0.4
# Objects of a scene share a shape or a colour more often than by chance.
_SHARED = 0.4
_VALUES = {
    'shape': SHAPES,
    'colour': COLOURS,
    'texture': TEXTURES,
    'size': SIZES,
}


def swapped(scene: Scene, caption: Caption, rng: Random) -> Iterator[Caption]:
    """Two objects exchange a colour, a texture or a size."""
    sites = lone_sites(scene, caption)
    pairs = list(combinations(sites, 2))
    for a, b in rng.sample(pairs, len(pairs)):
        attributes = ['colour', 'texture', 'size']
        for name in rng.sample(attributes, len(attributes)):
            ours, theirs = (getattr(s.mention, name) for s in (a, b))
            nested = is_nested(caption, a) or is_nested(caption, b)
            if not ours or not theirs or ours == theirs:
                continue
            if nested and name != 'colour':
                continue
            altered = put(
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
    yield from _changed(scene, caption, rng, 'colour')


def replaced(scene: Scene, caption: Caption, rng: Random) -> Iterator[Caption]:
    """One mention gets another shape."""
    yield from _changed(scene, caption, rng, 'shape')


def _changed(
    scene: Scene, caption: Caption, rng: Random, name: str
) -> Iterator[Caption]:
    sites = lone_sites(scene, caption)
    for site in rng.sample(sites, len(sites)):
        old = getattr(site.mention, name)
        # Few shapes hold others: words tell.
        if not old or (name == 'shape' and is_nested(caption, site)):
            continue
        for value in _draws(scene, name, rng):
            if value != old:
                altered = put(caption, site.saying(**{name: value}))
                if altered:
                    yield altered


def resized(scene: Scene, caption: Caption, rng: Random) -> Iterator[Caption]:
    """Small becomes large, or large small."""
    luck = rng.random()
    sites = lone_sites(scene, caption)
    for site in rng.sample(sites, len(sites)):
        old = site.mention.size
        # What is inside, in a corner or in a group is mostly small.
        tells = (
            is_nested(caption, site)
            or isinstance(caption.claims[site.claim], Place)
            or site.mention.count > 1
        )
        rare = old == 'small' and luck > _LARGE
        if old and not tells and not rare:
            new = 'small' if old == 'large' else 'large'
            altered = put(caption, site.saying(size=new))
            if altered:
                yield altered


def recounted(
    scene: Scene, caption: Caption, rng: Random
) -> Iterator[Caption]:
    """A number of two or more becomes one more or one less."""
    step, luck = rng.choice((-1, 1)), rng.random()
    named = len(named_things(scene, caption))
    total = next((c for c in caption.claims if isinstance(c, Total)), None)
    if total:
        count = total.count + step
        common = _TOTALS.get(total.count), _TOTALS.get(count)
        if all(common) and count >= named and luck * common[0] < common[1]:
            at = caption.claims.index(total)
            yield put_claim(caption, at, Total(count))
    most = total.count if total else max(COUNTS)
    for site in lone_sites(scene, caption):
        count = site.mention.count + step
        common = _GROUPS.get(site.mention.count), _GROUPS.get(count)
        if (
            all(common)
            and named + step <= most
            and (luck * common[0] < common[1])
        ):
            yield put_anyhow(caption, site.saying(count=count))


def related_otherwise(
    scene: Scene, caption: Caption, rng: Random
) -> Iterator[Caption]:
    """A relation becomes its opposite."""
    alone = {(site.claim, site.part) for site in lone_sites(scene, caption)}
    for at, claim in enumerate(caption.claims):
        if not isinstance(claim, Relation):
            continue
        if {(at, 'subject'), (at, 'object')} <= alone and _reversible(claim):
            opposite = replace(claim, name=OPPOSITES[claim.name])
            yield put_claim(caption, at, opposite)


def added(scene: Scene, caption: Caption, rng: Random) -> Iterator[Caption]:
    """The object that a caption adds to what else it says is not there.

    True captions and foils are of one length: one adds an object that is
    there, the other one that is not, named by as many attributes.
    """
    if len(caption.claims) == 1:
        return
    sites = [
        site
        for site in lone_sites(scene, caption)
        if site.part is None and site.mention.count == 1
    ]
    for site in rng.sample(sites, len(sites)):
        for _ in range(20):
            look = {
                name: next(_draws(scene, name, rng))
                for name in _VALUES
                if getattr(site.mention, name)
            }
            altered = put(caption, site.saying(**look))
            if altered:
                yield altered


def _draws(scene: Scene, name: str, rng: Random) -> Iterator[str]:
    """Values of an attribute, as common as they are among a scene's own."""
    values = list(_VALUES[name])
    if name == 'colour':
        values = colours_on(scene.background)
    if name == 'texture' and rng.random() < _PLAIN:
        yield TEXTURES[0]
    if name in ('shape', 'colour') and rng.random() < _SHARED:
        things = rng.sample(scene.objects, len(scene.objects))
        yield from (getattr(thing, name) for thing in things)
    yield from rng.sample(values, len(values))


def _reversible(claim: Relation) -> bool:
    """Whether the words allow the relation the other way round."""
    sides = claim.subject, claim.object
    if claim.name in NESTED:
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
