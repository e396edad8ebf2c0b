"""How problems with weights are said: one sentence that names a few keys."""

from __future__ import annotations

from collections.abc import Iterable

from sparc_vlm.errors import UserError

_NAMED = 3  # keys that a message names before it only counts


class WeightsError(UserError, ValueError):
    """Weights cannot be read, or do not fit where they should go."""


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return ', '.join(names[:_NAMED]) + more
