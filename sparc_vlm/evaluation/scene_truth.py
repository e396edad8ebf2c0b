"""How true a caption of a scene is, and how much it says: a sample's numbers.

Scenes are known whole, so that what is false and what is left out are counted
rather than looked for.
"""

from __future__ import annotations

from typing import Any

from sparc_vlm.evaluation.hallucination import share

_FALSE = ('objects', 'attributes', 'counts', 'relations', 'background')
_MISSED = ('objects', 'attributes', 'relations')
SCENE_WEIGHTS = {
    **{f'false_{kind}': f'{kind}_said' for kind in _FALSE},
    **{f'missed_{kind}': f'{kind}_shown' for kind in _MISSED},
    'unread_words': 'words_read',
}
"""From each share to the count that it is of."""


def scene_truth(faults: Any) -> dict[str, Any]:
    """A sample's part of what a caption says of a scene.

    Args:
        faults: As the `faults` of a source of scenes gives them.

    Returns:
        Shares in percent, None of nothing, what they are of, and `invented`,
        the words of what is not so.
    """
    found: dict[str, Any] = {}
    for kind in _FALSE:
        said = faults.said[kind]
        found[f'false_{kind}'] = share(faults.false[kind], said)
        found[f'{kind}_said'] = said
    for kind in _MISSED:
        own = faults.omissions[kind]
        found[f'missed_{kind}'] = share(own.missed, own.shown)
        found[f'{kind}_shown'] = own.shown
    return {
        **found,
        'false_captions': (
            None if faults.is_silent else 100.0 * bool(faults.invented)
        ),
        'silent_captions': 100.0 * faults.is_silent,
        'unread_words': share(faults.unread, faults.words),
        'words_read': faults.words,
        'named_objects': faults.named,
        'invented': faults.invented,
    }
