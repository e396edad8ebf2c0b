"""Several rounds of an update: how many, and how much each of them counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from mmengine import dist
from torch import Tensor, nn


def take_rounds(runner: Any) -> int:
    """How often to go round before an update, taken from the wrapper.

    The wrapper then updates whenever it is told to.

    Args:
        runner: mmengine's runner; its wrapper is changed in place.
    """
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, dict):
        rest = dict(wrapper)
        rounds = rest.pop('accumulative_counts', 1)
        runner.optim_wrapper = type(wrapper)(rest)
        return rounds
    rounds = getattr(wrapper, '_accumulative_counts', 1)
    if rounds != 1:
        wrapper._accumulative_counts = 1
    return rounds


def with_divisors(
    model: nn.Module, rounds: Iterable[list[Any]], number: int
) -> Iterator[tuple[list[Any], Sequence[float | Tensor]]]:
    """The rounds of an update, and what the loss of each batch is divided by.

    That is their number, so that gradients are averaged. A model whose loss
    is a mean over something that batches have more and less of, such as the
    tokens of answers, says how many of them a batch has, by a method
    `loss_terms(batch)`. All rounds are then drawn before the first is run,
    and each counts by its share: the gradient is that of the joined batch,
    over all processes, of each loader.

    Args:
        model: The model itself.
        rounds: The batches of each round, one of each loader; drawn when
            they are asked for.
        number: How many rounds there are.
    """
    count = getattr(model, 'loss_terms', None)
    if count is None or number == 1:
        for batches in rounds:
            yield batches, [number] * len(batches)
        return
    drawn = list(rounds)
    terms = torch.tensor(
        [[count(batch) for batch in batches] for batches in drawn],
        dtype=torch.float32,
        # Where processes exchange it without waiting for what is queued.
        device=next(model.parameters()).device,
    )
    dist.all_reduce(terms)
    yield from zip(drawn, terms.sum(0) / terms, strict=True)
