"""Loaded position embeddings are made to fit the transformer's own grid.

Those of a class token are left out, and the others resized where the
checkpoint saw pictures of another size.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping

from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from sparc_vlm.errors import UsageError


def fit_positions(
    state: MutableMapping[str, Tensor],
    prefix: str,
    own: Tensor,
    grid: tuple[int, int],
    mode: str,
) -> None:
    """Changes the position embeddings in loaded weights, in place.

    Those of another width stay as they are: loading says that they differ.
    So do as many as the own ones. Weights do not say of what grid they are,
    so that those of 16 x 16 patches load into 8 x 32 as if they were of
    8 x 32, and lie in the wrong places. Whoever wants them resized builds the
    transformer with the checkpoint's own `img_size`: any other size of
    picture works there, and positions are resized to it.

    Args:
        state: Weights by key.
        prefix: What the transformer's keys begin with.
        own: (1, P, C) the transformer's own position embeddings.
        grid: Rows and columns of its P patches.
        mode: How to interpolate, such as 'bicubic'.

    Raises:
        ValueError: Another number of positions, of a grid that is no square.
    """
    name = prefix + 'pos_embed'
    loaded = state.get(name)
    if loaded is None or loaded.shape[-1] != own.shape[-1]:
        return
    if _has_class_token(state, prefix, loaded.shape[1], own.shape[1]):
        loaded = loaded[:, 1:]
        state.pop(prefix + 'cls_token', None)
    if loaded.shape != own.shape:
        if not _is_square(loaded.shape[1]):
            raise UsageError(
                f'cannot resize {name}: its {loaded.shape[1]} position '
                'embeddings do not make a square grid; set img_size to '
                "the checkpoint's own"
            )
        side = math.isqrt(loaded.shape[1])
        loaded = resize_pos_embed(loaded, (side, side), grid, mode, 0)
    state[name] = loaded


def _has_class_token(
    state: MutableMapping[str, Tensor], prefix: str, count: int, own: int
) -> bool:
    """Whether `count` loaded position embeddings begin with its own."""
    if prefix + 'cls_token' in state:
        return True
    if count == own or _is_square(count):
        return False
    return _is_square(count - 1) or count == own + 1


def _is_square(count: int) -> bool:
    return math.isqrt(count) ** 2 == count
