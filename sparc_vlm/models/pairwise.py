"""Contrast over all pairs of a batch, block by block, with recomputation.

Scores of all pairs take memory that grows with the square of the batch. Here
the forward pass streams them in blocks and keeps what the loss needs of each
row and column; the backward pass computes each block again and sends its
gradient on at once. Memory grows linearly with the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isqrt
from typing import NamedTuple

import torch
from mmengine import dist
from torch import Tensor

from sparc_vlm.models.pairwise_blocks import (
    Job,
    PairScores,
    Pairwise,
    current_autocast,
)
from sparc_vlm.models.reductions import InfoNCE, Reduction, Sigmoid

# Blocks that stay in a CPU's cache are fastest; a GPU wants fewer launches.
CPU_BUDGET, DEVICE_BUDGET = 64 * 2**20, 2**30
# Columns are prepared anew for each block of rows: blocks are wider than high.
COLUMNS_TO_ROWS = 4


class Joined(NamedTuple):
    """Where this process's pairs stand in the joined batch.

    Attributes:
        sizes: Pairs of each process, see `gather.process_sizes`.
        start: Column that belongs to this process's first row.
    """

    sizes: list[int]
    start: int

    @classmethod
    def here(cls, sizes: list[int]) -> Joined:
        """The place of this process among those of the given sizes."""
        return cls(sizes, sum(sizes[: dist.get_rank()]))


def pairwise_info_nce(
    scores: PairScores,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    shared: Sequence[Tensor],
    joined: Joined,
    column_order: Tensor | None = None,
    budget: int | None = None,
) -> Tensor:
    """Symmetric InfoNCE over all pairs of a batch, mean of both directions.

    Several processes: each computes its own images against all captions
    (gathered with gradients), so that each pair is computed once in the
    world; what the columns add up to is exchanged. The loss is this process's
    share, scaled as in `contrastive`; the gradient that reaches it must be
    the same in every process, as it is under DDP and FSDP.

    Args:
        scores: How pairs are scored.
        rows: Tensors with one row for each image of this process; masks and
            other tensors without gradients may be among them.
        columns: Tensors with one row for each caption of all processes.
        shared: Tensors that every pair uses, such as the temperature.
        joined: Where the own pairs stand.
        column_order: (N,) int64 order in which columns are put into blocks,
            so that captions of one length meet; as they come if None.
        budget: Bytes that a block may take; None means 64 MiB on a CPU, 1 GiB
            on other devices. One block that holds everything is kept for the
            backward pass, and nothing is computed twice.

    Returns:
        Scalar loss in float32, or float64 where the scores are.
    """
    reduction = InfoNCE(joined.sizes, joined.start)
    return _contrast(
        scores, rows, columns, shared, reduction, column_order, budget
    )


def pairwise_sigmoid(
    scores: PairScores,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    shared: Sequence[Tensor],
    joined: Joined,
    budget: int | None = None,
) -> Tensor:
    """Sigmoid loss: every pair on its own, summed, over the batch size.

    Args and Returns as in `pairwise_info_nce`; `scores` gives one matrix.
    """
    reduction = Sigmoid(joined.sizes, joined.start)
    return _contrast(scores, rows, columns, shared, reduction, None, budget)


def block_shape(
    rows: int, columns: int, pair_bytes: int, budget: int
) -> tuple[int, int]:
    """Rows and columns of a block that stays within a budget.

    Args:
        rows: Rows there are.
        columns: Columns there are.
        pair_bytes: Memory of one pair.
        budget: Memory of a block; one pair is the least there can be.
    """
    pairs = max(1, budget // pair_bytes)
    wide = min(columns, max(1, isqrt(pairs * COLUMNS_TO_ROWS)))
    high = min(rows, max(1, pairs // wide))
    return high, min(columns, max(1, pairs // high))


def default_budget(device: torch.device) -> int:
    """Bytes of a block where nothing else is said."""
    return CPU_BUDGET if device.type == 'cpu' else DEVICE_BUDGET


def _contrast(
    scores: PairScores,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    shared: Sequence[Tensor],
    reduction: Reduction,
    column_order: Tensor | None,
    budget: int | None,
) -> Tensor:
    rows, columns = tuple(rows), tuple(columns)
    device = rows[0].device
    high, wide = block_shape(
        len(rows[0]),
        len(columns[0]),
        scores.pair_bytes(rows, columns),
        default_budget(device) if budget is None else budget,
    )
    if column_order is None:
        column_blocks = list(_slices(len(columns[0]), wide))
    else:
        column_blocks = list(column_order.split(wide))
    job = Job(
        scores,
        reduction,
        list(_slices(len(rows[0]), high)),
        column_blocks,
        (len(rows), len(columns)),
        current_autocast(device),
    )
    return Pairwise.apply(job, *rows, *columns, *shared)


def _slices(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
