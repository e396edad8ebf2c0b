"""What is said when a config cannot be used: one sentence, one near name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from sparc_vlm.errors import UserError


class ConfigError(UserError, ValueError):
    """A config, or a change to one, cannot be used.

    The message is one sentence that says what to do.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name.

    Args:
        name: What was written.
        known: What could have been meant.

    Returns:
        '; did you mean x?' where a known name is near, else '; known are: '
        and some of them, or nothing if there are none.
    """
    known = sorted(set(map(str, known)))
    lowered = {other.lower(): other for other in reversed(known)}
    found = difflib.get_close_matches(name.lower(), lowered, 1, 0.6)
    if found:
        return f'; did you mean {lowered[found[0]]}?'
    if not known:
        return ''
    more = ', ...' if len(known) > 8 else ''
    return f'; known are: {", ".join(known[:8])}{more}'
