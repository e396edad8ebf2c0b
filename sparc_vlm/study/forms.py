"""What the fields of a study file may hold, checked before they are used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sparc_vlm.engine.config_error import ConfigError, nearest

TEXT, LIST, DICT = 'a text', 'a list', 'a dict'
NUMBER, WHOLE = 'a number', 'a whole number'
KINDS = {
    TEXT: (str,),
    LIST: (list, tuple, range),
    DICT: (dict,),
    NUMBER: (int, float),
    WHOLE: (int,),
}
FORMS = {
    **dict.fromkeys(('title', 'note', 'name', 'baseline', 'config'), (TEXT,)),
    **dict.fromkeys(('arms', 'tasks', 'indices'), (LIST,)),
    **dict.fromkeys(('pictures', 'options', 'dataset'), (DICT,)),
    **dict.fromkeys(('value', 'threshold'), (NUMBER,)),
    'steps': (WHOLE,),
    'seeds': (WHOLE, LIST),
    'data': (TEXT, LIST),
    'val_data': (TEXT,),
}
"""By field, what it may be; others are checked where they are used."""


def check_fields(
    content: Mapping[str, Any],
    fields: Iterable[str],
    who: str,
    elsewhere: Iterable[str] = (),
) -> None:
    """Stops at a field that is unknown, or holds what it cannot.

    Args:
        content: Of the file, of an arm or of another part of it.
        fields: That it may have.
        who: It is, for the message.
        elsewhere: Fields whose form is checked by others.

    Raises:
        ConfigError: In one sentence.
    """
    for key, value in content.items():
        # A name with an underscore is the file's own, for use further down.
        if key not in fields and key[0] != '_':
            raise ConfigError(f'{who}: unknown {key}{nearest(key, fields)}')
        forms = () if key in elsewhere else FORMS.get(key, ())
        known = tuple(kind for form in forms for kind in KINDS[form])
        is_form = isinstance(value, known) and not isinstance(value, bool)
        if value is not None and known and not is_form:
            raise ConfigError(
                f'{who}: {key} is {" or ".join(forms)}, got {value!r}'
            )
