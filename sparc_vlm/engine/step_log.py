"""What a training step leaves in the log, from all of its batches."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_of(rounds: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Logged values, averaged over the rounds of a step.

    Args:
        rounds: For each round, scalars by name.
    """
    if len(rounds) == 1:
        return rounds[0]
    return {
        key: torch.stack([each[key].detach() for each in rounds]).mean(0)
        for key in rounds[0]
    }


def named(logs: list[dict[str, Tensor]], names: list[str]) -> dict:
    """The logged values of all datasets: their own, and the sum of losses.

    Args:
        logs: For each dataset, scalars by name, 'loss' among them.
        names: What each is called; not used for one alone.
    """
    if len(logs) == 1:
        return logs[0]
    merged = {'loss': sum(log['loss'] for log in logs)}
    for name, log in zip(names, logs, strict=True):
        merged.update({f'{name}/{key}': log[key] for key in log})
    return merged


def numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """Tensors of one element as numbers, fetched from the device at once."""
    tensors = [
        value.detach().double().reshape(()) for value in values.values()
    ]
    return dict(zip(values, torch.stack(tensors).tolist(), strict=True))
