"""The places of a caption where objects are mentioned, and altering them.

A mention may be a claim by itself or one side of a relation; what is changed
is the one or the other, and the rest of the caption stays word for word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sparc_vlm.datasets.scenes.captions import Caption
from sparc_vlm.datasets.scenes.claims import Claim, Mention, Relation
from sparc_vlm.datasets.scenes.layout import Scene

NESTED = ('inside', 'around')
_ATTRIBUTES = ('shape', 'colour', 'texture', 'size')


@dataclass(frozen=True, slots=True)
class Site:
    """Where a caption mentions something: a claim, or a part of one."""

    claim: int
    part: str | None
    mention: Mention

    def saying(self, **attributes: str | int) -> Site:
        """The same place with other attributes."""
        return replace(self, mention=replace(self.mention, **attributes))


def all_sites(caption: Caption) -> Iterator[Site]:
    """Every mention, those of places and relations included."""
    for at, claim in enumerate(caption.claims):
        if isinstance(claim, Mention):
            yield Site(at, None, claim)
        for part in ('subject', 'object'):
            if isinstance(mention := getattr(claim, part, None), Mention):
                yield Site(at, part, mention)


def named_things(scene: Scene, caption: Caption) -> set[int]:
    """The objects that a caption names."""
    sites = all_sites(caption)
    return {index for site in sites for index in site.mention.find(scene)}


def lone_sites(scene: Scene, caption: Caption) -> list[Site]:
    """Where objects are mentioned that no other part of it mentions."""
    sites = list(all_sites(caption))
    found = [set(site.mention.find(scene)) for site in sites]
    return [
        site
        for at, site in enumerate(sites)
        if not any(
            found[at] & other for o, other in enumerate(found) if o != at
        )
    ]


def is_nested(caption: Caption, site: Site) -> bool:
    """Whether one object is said to be inside the other there."""
    claim = caption.claims[site.claim]
    return isinstance(claim, Relation) and claim.name in NESTED


def put(caption: Caption, *sites: Site) -> Caption | None:
    """The caption with other mentions, or None where it makes no sense."""
    altered = put_anyhow(caption, *sites)
    return altered if _makes_sense(altered, sites) else None


def put_anyhow(caption: Caption, *sites: Site) -> Caption:
    """The caption with other mentions, whatever they say."""
    claims = list(caption.claims)
    for site in sites:
        claim: Claim = site.mention
        if site.part:
            claim = replace(claims[site.claim], **{site.part: site.mention})
        claims[site.claim] = claim
    return replace(caption, claims=tuple(claims))


def put_claim(caption: Caption, at: int, claim: Claim) -> Caption:
    """The caption with another claim in one place."""
    claims = (*caption.claims[:at], claim, *caption.claims[at + 1 :])
    return replace(caption, claims=claims)


def _makes_sense(caption: Caption, changed: Sequence[Site]) -> bool:
    """Whether no other mention says the same as a changed one, or more.

    A caption that names 'a red shape' does not go on to 'a red circle'.
    """
    return not any(
        _covers(site.mention, other.mention)
        or _covers(other.mention, site.mention)
        for site in changed
        for other in all_sites(caption)
        if (other.claim, other.part) != (site.claim, site.part)
    )


def _covers(one: Mention, other: Mention) -> bool:
    """Whether all that fits the other fits the one too."""
    return all(
        getattr(one, name) in (None, getattr(other, name))
        for name in _ATTRIBUTES
    )
