"""Pairs in parts of like lengths, so that little is computed on padding.

What stays inside a pair can be computed a part of the batch at a time. Sorted
by the length of their captions, each part is only as long as its own longest:
with the lengths of Flickr8k, half of the padding's work is gone.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.structures import PairEmbeddings

PARTS = 4
"""More save little, and each costs calls."""
TOKENWISE = ('tokens', 'token_mask', 'patch_mask', 'token_ids', 'words')
"""What has an axis of tokens, the second one."""
GLOBAL = ('image', 'text')
"""What no part needs, and none has: it is contrasted over the batch."""


def parts_by_length(
    pairs: PairEmbeddings,
) -> tuple[list[PairEmbeddings], Tensor | None]:
    """Sorts the pairs by the length of their captions and cuts them up.

    On a GPU there is one part, the batch as it is: the lengths are not known
    on the host, and few large calls are what it wants.

    Args:
        pairs: B pairs.

    Returns:
        The parts, and the (B,) places that put their rows back in order,
        None where they are in order.
    """
    batch, length = pairs.token_mask.shape
    count = min(PARTS, batch)
    if pairs.token_mask.device.type != 'cpu' or count == 1:
        return [pairs], None
    # A caption may begin with a mark, which is not real: it ends at its last
    # real token.
    places = torch.arange(1, length + 1)
    ends = (pairs.token_mask * places).amax(1).clamp(min=1)
    ends, order = ends.sort(stable=True)
    sizes = [len(part) for part in order.tensor_split(count)]
    longest = [int(part[-1]) for part in ends.split(sizes)]
    back = order.argsort()
    cut = {
        field.name: _cut(getattr(pairs, field.name), order, back, sizes)
        for field in fields(pairs)
        if field.name not in ('logit_scale', *GLOBAL)
    }
    parts = []
    for place, end in enumerate(longest):
        own = {name: values[place] for name, values in cut.items()}
        own |= {name: getattr(pairs, name)[:0] for name in GLOBAL}
        for name in TOKENWISE:
            if own[name] is not None:
                own[name] = own[name][:, :end]
        parts.append(replace(pairs, **own))
    return parts, back


def _cut(
    values: Tensor | None, order: Tensor, back: Tensor, sizes: list[int]
) -> list[Tensor | None]:
    if values is None:
        return [None] * len(sizes)
    return list(_Reordered.apply(values, order, back).split(sizes))


class _Reordered(torch.autograd.Function):
    """Rows in another order; their gradient is moved back, not added up."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, order: Tensor, back: Tensor
    ) -> Tensor:
        ctx.save_for_backward(back)
        return values.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradient.index_select(0, back), None, None


def join_parts(parts: list[Tensor], back: Tensor | None) -> Tensor:
    """Puts (b, l) values of the parts' tokens back into (B, L).

    Args:
        parts: Values of each part.
        back: From `parts_by_length`.
    """
    length = max(part.shape[1] for part in parts)
    padded = [F.pad(part, (0, length - part.shape[1])) for part in parts]
    joined = torch.cat(padded)
    return joined if back is None else joined.index_select(0, back)
