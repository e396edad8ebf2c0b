"""Names that mmpretrain 1.2 imports and transformers has moved or dropped.

They are looked up when somebody asks for them and only when transformers
itself does not have them, which leaves its own import order alone.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.compat.imports import after_import

_MODULE = 'transformers.modeling_utils'
# where each name lives since it left modeling_utils
_MOVED = {
    'apply_chunking_to_forward': 'transformers.pytorch_utils',
    'prune_linear_layer': 'transformers.pytorch_utils',
    'find_pruneable_heads_and_indices': 'transformers.pytorch_utils',
    'GenerationConfig': 'transformers',
    'GenerationMixin': 'transformers',
    'PretrainedConfig': 'transformers',
}


def find_pruneable_heads_and_indices(
    heads: set[int],
    n_heads: int,
    head_size: int,
    already_pruned_heads: set[int],
) -> tuple[set[int], Tensor]:
    """Which rows of a projection stay when attention heads are pruned.

    Args:
        heads: Heads to prune, numbered as before any pruning.
        n_heads: Heads that are left now.
        head_size: Rows of one head.
        already_pruned_heads: Heads pruned before.

    Returns:
        The heads that are left to prune, and the (rows kept,) int64 indices.
    """
    to_prune = set(heads) - already_pruned_heads
    keep = torch.ones(n_heads, head_size, dtype=torch.bool)
    for head in to_prune:
        # a head moves up by one for each pruned head before it
        keep[head - sum(done < head for done in already_pruned_heads)] = False
    return to_prune, keep.flatten().nonzero().squeeze(1)


def _look_up(name: str) -> Any:
    """The object that used to be `transformers.modeling_utils.<name>`.

    Raises:
        AttributeError: It never was one of those that mmpretrain needs.
    """
    if name in _MOVED:
        home = importlib.import_module(_MOVED[name])
        if hasattr(home, name):
            return getattr(home, name)
        if name == 'find_pruneable_heads_and_indices':
            return find_pruneable_heads_and_indices
    raise AttributeError(f'module {_MODULE!r} has no attribute {name!r}')


def _add_names(module: ModuleType) -> None:
    """Lets the module answer for the names that it no longer has."""
    if '__getattr__' not in vars(module):
        module.__getattr__ = _look_up


def install() -> None:
    """Puts the names back once transformers is imported."""
    after_import(_MODULE, _add_names)


def status() -> str:
    """'native', 'absent', or 'stand-in: ' and the names put back."""
    if importlib.util.find_spec('transformers') is None:
        return 'absent'
    own = vars(importlib.import_module(_MODULE))
    added = [name for name in _MOVED if name not in own]
    return 'stand-in: ' + ', '.join(added) if added else 'native'
