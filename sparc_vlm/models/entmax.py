"""Sparsemax and entmax-1.5: softmax's relatives that give exact zeros.

Both find their threshold exactly, by sorting, outside of the graph; on the
support that it leaves they are written so that autograd gives the exact
gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sparsemax(scores: Tensor) -> Tensor:
    """Projects each row onto the probability simplex: few entries stay.

    p = max(z - tau, 0), with the tau that makes p add up to 1. The threshold
    is exact, found by sorting; the gradient is that of the projection.

    Args:
        scores: (..., P); a row may hold -inf, but not alone.

    Returns:
        (..., P), not negative, adding up to 1, exactly 0 where dropped.
    """
    # What lies a whole 1 under the highest is out, however far.
    scores = (scores - scores.amax(-1, keepdim=True).detach()).clamp(min=-1)
    ranked = scores.detach().sort(-1, descending=True).values
    places = _places(ranked)
    level = (ranked.cumsum(-1) - 1) / places
    inside = _inside(scores, ranked, level)
    # Over a known support the threshold is a mean: autograd does the rest.
    level = _mean_inside(scores, inside) - 1 / _size(inside, scores)
    return torch.where(inside, scores - level, 0.0).clamp(min=0)


def entmax15(scores: Tensor) -> Tensor:
    """Entmax with alpha 1.5, half-way between softmax and sparsemax.

    p = max(z / 2 - tau, 0)^2, with the tau that makes p add up to 1; exact
    in values and gradient, as `sparsemax` is.

    Args:
        scores: (..., P); a row may hold -inf, but not alone.

    Returns:
        (..., P), not negative, adding up to 1, exactly 0 where dropped.
    """
    scores = (scores - scores.amax(-1, keepdim=True).detach()) / 2
    scores = scores.clamp(min=-1)
    ranked = scores.detach().sort(-1, descending=True).values
    places = _places(ranked)
    mean = ranked.cumsum(-1) / places
    spread = ranked.square().cumsum(-1) / places - mean.square()
    level = mean - (1 / places - spread).clamp(min=0).sqrt()
    inside = _inside(scores, ranked, level)
    mean = _mean_inside(scores, inside)
    spread = _mean_inside((scores - mean).square(), inside)
    # The entries inside add up to 1, so that what is under the root is at
    # least 1 / P^2, and its gradient finite.
    level = mean - (1 / _size(inside, scores) - spread).sqrt()
    return torch.where(inside, scores - level, 0.0).square()


def _places(ranked: Tensor) -> Tensor:
    """1, 2, ..., P."""
    count = ranked.shape[-1]
    return torch.arange(1, count + 1, dtype=ranked.dtype, device=ranked.device)


def _inside(scores: Tensor, ranked: Tensor, level: Tensor) -> Tensor:
    """Which scores are above the threshold, from its value at each rank.

    The rank at which it holds is the last whose own score is above it.
    """
    size = (ranked > level).sum(-1, keepdim=True)
    return (scores > level.gather(-1, size - 1)) & (scores > -1)


def _mean_inside(values: Tensor, inside: Tensor) -> Tensor:
    total = torch.where(inside, values, 0.0).sum(-1, keepdim=True)
    return total / _size(inside, values)


def _size(inside: Tensor, values: Tensor) -> Tensor:
    """How many are inside, in the type of the values."""
    return inside.sum(-1, keepdim=True).to(values.dtype)
