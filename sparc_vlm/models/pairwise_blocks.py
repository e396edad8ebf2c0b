"""The autograd function behind `pairwise`: blocks, scored twice.

The forward pass streams blocks of pairs through a reduction. The backward
pass makes each block again, takes its gradient from the reduction, and adds
what that gives to the sums of rows, columns and shared tensors, in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparc_vlm.models.reductions import Matrices, Reduction

Tensors = tuple[Tensor, ...]


class PairScores(Protocol):
    """How an objective scores images (rows) against captions (columns).

    Under autocast both methods run under autocast too, in the forward and in
    the backward pass. They must be deterministic, since they run twice.
    """

    def prepare(self, rows: Tensors) -> Tensors:
        """What `__call__` takes of some rows, made once a block of rows."""

    def __call__(
        self, rows: Tensors, columns: Tensors, shared: Tensors
    ) -> Tensor | Matrices:
        """Scores (r, c) of every pair of the block, times any temperature.

        Two matrices where the directions score differently: the first is
        contrasted along its rows (image to text), the second along its
        columns (text to image).
        """

    def pair_bytes(self, rows: Tensors, columns: Tensors) -> int:
        """Memory that one pair of a block takes at its peak, in bytes."""


class Job(NamedTuple):
    """What the autograd function needs besides tensors.

    Attributes:
        scores: How pairs are scored.
        reduction: What becomes of the scores.
        row_blocks: The rows of each block.
        column_blocks: The columns of each block.
        counts: Row tensors and column tensors; the rest is shared.
        autocast: See `current_autocast`.
    """

    scores: PairScores
    reduction: Reduction
    row_blocks: list[slice]
    column_blocks: list[slice | Tensor]
    counts: tuple[int, int]
    autocast: dict[str, Any]

    def split(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Row, column and shared tensors, or what belongs to them."""
        first, second = self.counts[0], sum(self.counts)
        return values[:first], values[first:second], values[second:]

    def prepare(self, rows: Tensors) -> Tensors:
        """`PairScores.prepare` under the forward pass's autocast."""
        with torch.autocast(**self.autocast):
            return self.scores.prepare(rows)

    def score(
        self, rows: Tensors, columns: Tensors, shared: Tensors
    ) -> Matrices:
        """One or two matrices of scores, in float32 or wider."""
        with torch.autocast(**self.autocast):
            found = self.scores(rows, columns, shared)
        matrices = found if isinstance(found, tuple) else (found,)
        return tuple(wide(matrix) for matrix in matrices)


class _RowBlock:
    """Some rows, prepared once; gradients gather at the prepared tensors."""

    def __init__(self, job: Job, rows: Tensors, wanted: list[bool]) -> None:
        self.leaves = _leaves(rows, wanted)
        with torch.enable_grad():
            self.made = job.prepare(self.leaves)
        self.ready = _leaves(self.made, [m.requires_grad for m in self.made])
        self.sums: list[Tensor | None] = [None] * len(self.ready)

    def gradients(self) -> list[Tensor | None]:
        """Of the rows, from what has gathered."""
        pairs = [
            (made, total.to(made.dtype))
            for made, total in zip(self.made, self.sums, strict=True)
            if total is not None
        ]
        if not pairs:
            return [None] * len(self.leaves)
        return _grad(*zip(*pairs, strict=True), self.leaves)


class _Block:
    """Scores of some rows and columns, with the graph that made them."""

    def __init__(
        self,
        job: Job,
        rows: _RowBlock,
        columns: Tensors,
        shared: Tensors,
        wanted: Sequence[bool],
    ) -> None:
        _, column_wanted, shared_wanted = job.split(wanted)
        self.rows = rows
        self.columns = _leaves(columns, column_wanted)
        self.shared = _leaves(shared, shared_wanted)
        with torch.enable_grad():
            self.matrices = job.score(rows.ready, self.columns, self.shared)

    def detached(self) -> Matrices:
        return tuple(matrix.detach() for matrix in self.matrices)

    def gradients(self, upstream: Matrices) -> tuple[Any, Any]:
        """Of columns and shared tensors; those of the rows stay with them."""
        ready = self.rows.ready
        found = _grad(
            self.matrices, upstream, ready + self.columns + self.shared
        )
        for place, gradient in enumerate(found[: len(ready)]):
            if gradient is not None:
                total = self.rows.sums[place]
                self.rows.sums[place] = (
                    wide(gradient) if total is None else total.add_(gradient)
                )
        rest = found[len(ready) :]
        return rest[: len(self.columns)], rest[len(self.columns) :]


class Pairwise(torch.autograd.Function):
    """Loss over all pairs of rows and columns; called with a job first."""

    @staticmethod
    def forward(ctx: Any, job: Job, *tensors: Tensor) -> Tensor:
        """Streams all blocks through the reduction."""
        ctx.job, ctx.kept = job, None
        ctx.save_for_backward(*tensors)
        rows, columns, shared = job.split(tensors)
        wanted = ctx.needs_input_grad[1:]
        like = wide(rows[0][:0])
        job.reduction.begin(like, len(rows[0]), len(columns[0]))
        # A single block is no larger than one of many: kept, not redone.
        if len(job.row_blocks) == len(job.column_blocks) == 1 and any(wanted):
            row_block, column_block = job.row_blocks[0], job.column_blocks[0]
            block = _RowBlock(job, rows, wanted[: len(rows)])
            taken = _take(columns, column_block)
            ctx.kept = _Block(job, block, taken, shared, wanted)
            found = ctx.kept.detached()
            job.reduction.add(found, row_block, column_block)
            return job.reduction.loss()
        for row_block in job.row_blocks:
            ready = job.prepare(_take(rows, row_block))
            for column_block in job.column_blocks:
                taken = _take(columns, column_block)
                found = job.score(ready, taken, shared)
                job.reduction.add(found, row_block, column_block)
        return job.reduction.loss()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Makes each block again and adds up its gradients."""
        job, wanted = ctx.job, ctx.needs_input_grad[1:]
        tensors = ctx.saved_tensors
        rows, columns, shared = job.split(tensors)
        kind = wide(rows[0][:0]).dtype
        # Rows are written once; to the others many blocks add up, which half
        # precision would lose.
        sums = [
            torch.zeros_like(tensor, dtype=None if place < len(rows) else kind)
            if want
            else None
            for place, (tensor, want) in enumerate(
                zip(tensors, wanted, strict=True)
            )
        ]
        row_sums, column_sums, shared_sums = job.split(sums)
        kept, ctx.kept = ctx.kept, None
        for row_block in job.row_blocks:
            if kept is None:
                taken = _take(rows, row_block)
                block_rows = _RowBlock(job, taken, wanted[: len(rows)])
            else:
                block_rows = kept.rows
            for place in job.column_blocks:
                block = kept or _Block(
                    job, block_rows, _take(columns, place), shared, wanted
                )
                upstream = tuple(
                    matrix * gradient
                    for matrix in job.reduction.gradients(
                        block.detached(), row_block, place
                    )
                )
                of_columns, of_shared = block.gradients(upstream)
                _add(column_sums, place, of_columns)
                _add(shared_sums, ..., of_shared)
            _add(row_sums, row_block, block_rows.gradients())
        return None, *(
            None if total is None else total.to(tensor.dtype)
            for total, tensor in zip(sums, tensors, strict=True)
        )


def current_autocast(device: torch.device) -> dict[str, Any]:
    """Arguments of a `torch.autocast` that is as the present one."""
    return dict(
        device_type=device.type,
        dtype=torch.get_autocast_dtype(device.type),
        enabled=torch.is_autocast_enabled(device.type),
        # Its cache would hold on to casts of every block.
        cache_enabled=False,
    )


def wide(values: Tensor) -> Tensor:
    """Float32, or float64 where the input already is."""
    return values if values.dtype == torch.float64 else values.float()


def _take(tensors: Tensors, place: slice | Tensor) -> Tensors:
    return tuple(tensor[place] for tensor in tensors)


def _leaves(tensors: Tensors, wanted: Sequence[bool]) -> Tensors:
    """The same values, as leaves of a graph of their own."""
    return tuple(
        tensor.detach().requires_grad_(want)
        for tensor, want in zip(tensors, wanted, strict=True)
    )


def _grad(
    outputs: Tensors, upstream: Tensors, inputs: Tensors
) -> list[Tensor | None]:
    """`torch.autograd.grad`, None for what takes no gradient."""
    asked = [i for i, tensor in enumerate(inputs) if tensor.requires_grad]
    found: list[Tensor | None] = [None] * len(inputs)
    if asked:
        gradients = torch.autograd.grad(
            outputs, [inputs[i] for i in asked], upstream, allow_unused=True
        )
        for i, gradient in zip(asked, gradients, strict=True):
            found[i] = gradient
    return found


def _add(
    sums: Sequence[Tensor | None],
    place: Any,
    gradients: Sequence[Tensor | None],
) -> None:
    """Adds gradients of some rows to the sums of all, in place."""
    for total, gradient in zip(sums, gradients, strict=True):
        if total is not None and gradient is not None:
            if isinstance(place, Tensor):
                total.index_add_(0, place, gradient.to(total.dtype))
            else:
                total[place].add_(gradient)
