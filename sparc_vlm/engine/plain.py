"""Checkpoint contents as plain data, and back.

mmengine keeps history objects and numpy arrays in its message hub, which
`torch.load(weights_only=True)` refuses. Written as tensors, numbers, strings,
lists and dicts, a checkpoint loads without running anybody's code.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

HISTORY, ARRAY = '__history__', '__array__'
SCALARS = (str, int, float, bool, complex, bytes, type(None), torch.dtype)


def pack(value: Any, dropped: list[str] | None = None, place: str = '') -> Any:
    """Turns a value into plain data.

    Args:
        value: Any nesting of dicts, lists, tuples, tensors, numpy values,
            `HistoryBuffer`, numbers and strings.
        dropped: Where to note the places of entries that are none of these;
            they are left out. None: such an entry is an error.
        place: Dotted name of `value`, for messages.

    Raises:
        TypeError: An entry is no plain data, and `dropped` is None.
    """
    if isinstance(value, torch.Tensor):
        return value.detach()
    if type(value) in SCALARS:
        return value
    if isinstance(value, HistoryBuffer):
        log, count = value.data
        parts = [torch.from_numpy(part.copy()) for part in (log, count)]
        return {HISTORY: [*parts, value.max_length]}
    if isinstance(value, dict):
        return _pack_dict(value, dropped, place)
    if isinstance(value, (list, tuple)):
        kept = [
            packed
            for i, entry in enumerate(value)
            if (packed := pack(entry, dropped, f'{place}.{i}')) is not _DROP
        ]
        return tuple(kept) if isinstance(value, tuple) else kept
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufc':
        return {ARRAY: torch.from_numpy(value.copy())}
    if isinstance(value, np.generic) and value.dtype.kind in 'biufcUS':
        return value.item()
    for kind in (bool, int, float, str):  # subclasses: enums, string types
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Path):
        return str(value)
    if dropped is None:
        raise TypeError(
            f'{place} is a {type(value).__name__}, which a checkpoint that '
            'loads without running code cannot hold; keep tensors, numbers, '
            'strings, lists and dicts instead'
        )
    dropped.append(place)
    return _DROP


def unpack(value: Any) -> Any:
    """Turns what `pack` made back into what it was made from."""
    if isinstance(value, dict):
        if value.keys() == {HISTORY}:
            log, count, max_length = value[HISTORY]
            return HistoryBuffer(log.numpy(), count.numpy(), max_length)
        if value.keys() == {ARRAY}:
            return value[ARRAY].numpy()
        return _like(value, {key: unpack(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(unpack(entry) for entry in value)
    return value


_DROP = object()


def _pack_dict(value: dict, dropped: list[str] | None, place: str) -> dict:
    packed = {}
    for key, entry in value.items():
        item = pack(entry, dropped, f'{place}.{key}' if place else str(key))
        if item is not _DROP:
            packed[key] = item
    return _like(value, packed)


def _like(model: dict, items: dict) -> dict:
    """`items` as a dict, ordered and with a state dict's version notes."""
    if not isinstance(model, OrderedDict):
        return items
    ordered = OrderedDict(items)
    if hasattr(model, '_metadata'):
        ordered._metadata = model._metadata
    return ordered
