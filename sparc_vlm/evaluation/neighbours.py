"""Votes of the nearest neighbours by cosine, found block by block."""

from __future__ import annotations

import torch
from torch import Tensor

from sparc_vlm.evaluation.ranking import unit_rows


@torch.autocast('cpu', enabled=False)
def nearest(
    queries: Tensor, bank: Tensor, k: int, block: int = 4096
) -> tuple[Tensor, Tensor]:
    """The k rows of a bank with the highest cosine to each query.

    Args:
        queries: (Q, D), of any length.
        bank: (N, D), of length 1 each.
        k: At most N.
        block: Rows of the bank that are compared at a time.

    Returns:
        (Q, k) cosines, the highest first, and (Q, k) numbers of the rows.
    """
    queries = unit_rows(queries)
    found = torch.empty(len(queries), 0), torch.empty(len(queries), 0).long()
    for start in range(0, len(bank), block):
        cosine = queries @ bank[start : start + block].T
        rows = torch.arange(start, start + cosine.shape[1])
        values = torch.cat([found[0], cosine], 1)
        numbers = torch.cat([found[1], rows.expand_as(cosine)], 1)
        best, at = values.topk(min(k, values.shape[1]), 1)
        found = best, numbers.gather(1, at)
    return found


def vote(
    cosine: Tensor, labels: Tensor, classes: int, temperature: float
) -> Tensor:
    """Share of the votes that each class gets.

    A neighbour's vote weighs exp(cosine / temperature).

    Args:
        cosine: (Q, k) of the neighbours.
        labels: (Q, k) their classes.
        classes: How many there are.
        temperature: The lower, the more the nearest count.

    Returns:
        (Q, classes), rows that add up to 1.
    """
    weights = (cosine / temperature).softmax(1)
    shares = torch.zeros(len(cosine), classes)
    return shares.scatter_add(1, labels, weights)
