"""Rows of every process, with gradients back to the one that made them.

Contrastive losses need the other processes' embeddings as negatives. Each
process computes the loss of its own rows against everybody's; the gradient
that its loss sends to somebody else's rows is added up on the way back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from mmengine import dist
from torch import Tensor
from torch import distributed as torch_dist
from torch.nn import functional as F


class Gathered(NamedTuple):
    """Rows of all processes, and where one's own stand among them.

    Attributes:
        rows: (sum of all processes' rows, ...) in the order of the ranks.
        start: Index of this process's first row.
    """

    rows: Tensor
    start: int


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        rank = dist.get_rank()
        ctx.span = (sum(sizes[:rank]), sizes[rank])
        # Collectives want equal shapes: pad to the largest share.
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        shares = [torch.empty_like(padded) for _ in sizes]
        torch_dist.all_gather(shares, padded)
        return torch.cat(
            [share[:n] for share, n in zip(shares, sizes, strict=True)]
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # A copy: what autograd hands over is not ours to write to.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        torch_dist.all_reduce(gradient)
        start, length = ctx.span
        return gradient[start : start + length], None


def process_sizes(rows: int, device: torch.device) -> list[int]:
    """How many rows each process holds; uneven last batches are allowed.

    Args:
        rows: Rows of this process.
        device: Where the collective runs (NCCL wants its GPU).
    """
    if dist.get_world_size() == 1:
        return [rows]
    own = torch.tensor([rows], device=device)
    sizes = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    torch_dist.all_gather(sizes, own)
    return torch.cat(sizes).tolist()


def gather_rows(rows: Tensor, sizes: list[int]) -> Gathered:
    """Joins the rows of all processes; alone, it returns its argument.

    Args:
        rows: (B_own, ...) rows of this process.
        sizes: Rows of each process, from `process_sizes`.
    """
    if len(sizes) == 1:
        return Gathered(rows, 0)
    return Gathered(
        _AllGather.apply(rows, sizes), sum(sizes[: dist.get_rank()])
    )


def global_sum(count: Tensor) -> Tensor:
    """Adds up a count over the processes, without a gradient.

    Args:
        count: scalar.
    """
    total = count.detach().clone()
    if dist.get_world_size() > 1:
        torch_dist.all_reduce(total)
    return total


def mean_over_processes(log: dict[str, Tensor]) -> dict[str, Tensor]:
    """Logged values as means over the processes, without a gradient.

    Args:
        log: Scalars; the same keys in every process.
    """
    if dist.get_world_size() == 1:
        return log
    values = torch.stack([value.detach().float() for value in log.values()])
    dist.all_reduce(values, 'mean')
    return dict(zip(log, values, strict=True))


def gather_captions(
    tokens: Tensor, token_mask: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor]:
    """Joins the tokens of all processes, padded to the longest caption.

    Args:
        tokens: (B_own, L_own, D) tokens of this process.
        token_mask: (B_own, L_own) bool, True on tokens that count.
        sizes: Captions of each process, from `process_sizes`.

    Returns:
        (N, L, D) tokens, with gradients back to each process, and their
        (N, L) bool mask.
    """
    if len(sizes) == 1:
        return tokens, token_mask
    longest = torch.tensor(tokens.shape[1], device=tokens.device)
    torch_dist.all_reduce(longest, torch_dist.ReduceOp.MAX)
    missing = int(longest) - tokens.shape[1]
    tokens = F.pad(tokens, (0, 0, 0, missing))
    token_mask = F.pad(token_mask, (0, missing))
    # Not every backend sends booleans.
    marks = gather_rows(token_mask.to(torch.uint8), sizes).rows
    return gather_rows(tokens, sizes).rows, marks.bool()
