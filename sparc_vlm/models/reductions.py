"""From the scores of all pairs to a loss, one block at a time.

Each reduction takes blocks of scores in any order, gives this process's share
of the loss, and then, block by block again, the gradient of the scores.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch import distributed as torch_dist

Matrices = tuple[Tensor, ...]
Place = slice | Tensor


class Reduction(Protocol):
    """What the blockwise contrast asks of a loss."""

    def begin(self, like: Tensor, rows: int, columns: int) -> None:
        """Starts over, with values of the type and device of `like`."""

    def add(self, scores: Matrices, rows: Place, columns: Place) -> None:
        """Takes in a block."""

    def loss(self) -> Tensor:
        """This process's share of the loss, after all blocks."""

    def gradients(
        self, scores: Matrices, rows: Place, columns: Place
    ) -> Matrices:
        """d loss / d scores of a block, after `loss`."""


class InfoNCE:
    """Symmetric InfoNCE: a softmax along rows and one along columns.

    Keeps the logsumexp of each row and column, and the scores of the pairs
    that belong together. With two matrices the first is for the rows.

    Args:
        sizes: Pairs of each process.
        start: Column that belongs to the first row.
    """

    def __init__(self, sizes: list[int], start: int) -> None:
        self.sizes = sizes
        self.start = start
        self.share = len(sizes) / sum(sizes) / 2

    def begin(self, like: Tensor, rows: int, columns: int) -> None:
        """See `Reduction`."""
        self.matched = like.new_zeros(rows)
        self.rows = like.new_full((rows,), -torch.inf)
        self.columns = like.new_full((columns,), -torch.inf)

    def add(self, scores: Matrices, rows: Place, columns: Place) -> None:
        """See `Reduction`."""
        to_text, to_image = scores[0], scores[-1]
        match = self._match(rows, columns)
        both = torch.where(match, to_text + to_image, 0.0)
        self.matched[rows] += both.sum(1)
        self.rows[rows] = self.rows[rows].logaddexp(to_text.logsumexp(1))
        self.columns[columns] = self.columns[columns].logaddexp(
            to_image.logsumexp(0)
        )

    def loss(self) -> Tensor:
        """See `Reduction`."""
        if len(self.sizes) > 1:
            self.columns = _logsumexp_of_processes(self.columns)
        own = self.columns[self.start : self.start + len(self.rows)]
        return (self.rows + own - self.matched).sum() * self.share

    def gradients(
        self, scores: Matrices, rows: Place, columns: Place
    ) -> Matrices:
        """See `Reduction`."""
        match = self._match(rows, columns).to(scores[0].dtype)
        along_rows = (scores[0] - self.rows[rows, None]).exp_() - match
        along_columns = (scores[-1] - self.columns[columns]).exp_() - match
        if len(scores) == 1:
            return ((along_rows + along_columns) * self.share,)
        return along_rows * self.share, along_columns * self.share

    def _match(self, rows: Place, columns: Place) -> Tensor:
        return _match(self.rows, self.columns, self.start, rows, columns)


class Sigmoid:
    """Each pair on its own: matched ones up, all others down (SigLIP).

    Args:
        sizes: Pairs of each process.
        start: Column that belongs to the first row.
    """

    def __init__(self, sizes: list[int], start: int) -> None:
        self.start = start
        self.share = len(sizes) / sum(sizes)

    def begin(self, like: Tensor, rows: int, columns: int) -> None:
        """See `Reduction`."""
        self.total = like.new_zeros(())
        self.rows = like.new_empty(rows)
        self.columns = like.new_empty(columns)

    def add(self, scores: Matrices, rows: Place, columns: Place) -> None:
        """See `Reduction`."""
        away = scores[0] * self._signs(rows, columns)
        self.total += nn.functional.softplus(away).sum()

    def loss(self) -> Tensor:
        """See `Reduction`."""
        return self.total * self.share

    def gradients(
        self, scores: Matrices, rows: Place, columns: Place
    ) -> Matrices:
        """See `Reduction`."""
        signs = self._signs(rows, columns)
        return ((scores[0] * signs).sigmoid_() * signs * self.share,)

    def _signs(self, rows: Place, columns: Place) -> Tensor:
        """-1 on pairs that belong together, 1 on all others."""
        match = _match(self.rows, self.columns, self.start, rows, columns)
        return 1 - 2 * match.to(self.total.dtype)


def _match(
    rows: Tensor, columns: Tensor, start: int, row: Place, column: Place
) -> Tensor:
    """(r, c) bool, True where an image meets its own caption."""
    image = torch.arange(len(rows), device=rows.device)[row] + start
    text = torch.arange(len(columns), device=columns.device)[column]
    return image[:, None] == text


def _logsumexp_of_processes(values: Tensor) -> Tensor:
    highest = values.clone()
    torch_dist.all_reduce(highest, torch_dist.ReduceOp.MAX)
    total = (values - highest).exp()
    torch_dist.all_reduce(total)
    return highest + total.log()
