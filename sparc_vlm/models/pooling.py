"""From the tokens of a packed caption to the caption."""

from __future__ import annotations

import torch
from torch import Tensor

from sparc_vlm.structures import TokenBatch, to_device


def real_mask(tokens: TokenBatch) -> Tensor:
    """(B, L) bool, True on tokens that are neither padding nor marks.

    Args:
        tokens: B captions, packed.
    """
    return tokens.mask if tokens.real is None else tokens.pad(tokens.real)


def mean_of_real(features: Tensor, tokens: TokenBatch) -> Tensor:
    """(B, C) mean of each caption's real tokens, in float32 or better.

    A caption of nothing but begin/end marks takes the mean of those.

    Args:
        features: (N, C) features of the tokens.
        tokens: B captions, packed.
    """
    lengths = tokens.lengths.cpu()
    rows = torch.arange(len(lengths)).repeat_interleave(lengths)
    rows = to_device(rows, features.device)
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    weights = features.new_ones(len(features))
    if tokens.real is not None:
        counts = rows.new_zeros(len(lengths))
        counts = counts.index_add(0, rows, tokens.real.long())
        weights = (tokens.real | (counts == 0)[rows]).to(features)
    sums = features.new_zeros(len(lengths), features.shape[1])
    sums = sums.index_add(0, rows, features * weights[:, None])
    totals = weights.new_zeros(len(lengths)).index_add(0, rows, weights)
    return sums / totals[:, None]
