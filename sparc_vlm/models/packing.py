"""Captions of many lengths in one row of tokens, without padding.

Sorted by length, all captions of one length are one dense block: attention
runs block by block without padding and without a mask, or in one kernel that
is told where each caption ends.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparc_vlm.structures import to_device


class Block(NamedTuple):
    """`captions` captions of `length` tokens each, `tokens` in all."""

    captions: int
    length: int
    tokens: int


class PackedLayout(NamedTuple):
    """How captions sorted by length stand in one row.

    Attributes:
        order: (N,) for each place of the sorted row, the token that stands
            there.
        back: (N,) the inverse of `order`.
        places: (N,) position of each sorted token inside its caption.
        bounds: (B + 1,) int32, where each sorted caption begins, and the end.
        blocks: Runs of captions of one length, shortest first.
    """

    order: Tensor
    back: Tensor
    places: Tensor
    bounds: Tensor
    blocks: list[Block]

    @property
    def longest(self) -> int:
        """Tokens of the longest caption."""
        return self.blocks[-1].length


def pack_by_length(lengths: Tensor, device: torch.device) -> PackedLayout:
    """Sorts captions by length.

    Args:
        lengths: (B,) tokens of each caption, all at least 1; on the host,
            where the layout is worked out, so that no device is waited for.
        device: Where the layout is needed.
    """
    lengths = lengths.cpu()
    captions = lengths.argsort(stable=True)
    starts = lengths.cumsum(0) - lengths
    ordered = lengths[captions]
    total = int(lengths.sum())
    ends = ordered.cumsum(0)
    places = torch.arange(total)
    places = places - (ends - ordered).repeat_interleave(ordered)
    order = starts[captions].repeat_interleave(ordered) + places
    back = torch.empty_like(order)
    back[order] = torch.arange(total)
    bounds = torch.cat([ends.new_zeros(1), ends]).int()
    sizes, counts = ordered.unique_consecutive(return_counts=True)
    blocks = [
        Block(count, size, count * size)
        for size, count in zip(sizes.tolist(), counts.tolist(), strict=True)
    ]
    moved = [
        to_device(index, device) for index in (order, back, places, bounds)
    ]
    return PackedLayout(*moved, blocks)
