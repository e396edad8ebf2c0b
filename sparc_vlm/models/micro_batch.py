"""Encoders in micro-batches under a loss over the whole batch.

A contrastive loss needs all embeddings of a batch at once, but not all
activations of the encoders. Here the encoders run on a few pairs at a time,
keep nothing but what they return, and run again on the way back: memory goes
by the micro-batch, for about a third more time, and gradients are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from sparc_vlm.errors import UsageError
from sparc_vlm.models.gather import process_sizes
from sparc_vlm.structures import TokenBatch


def check_micro_batch(size: int | None) -> None:
    """Refuses a micro-batch of nothing.

    Args:
        size: Pairs of a micro-batch, None for all at once.

    Raises:
        ValueError: It is below 1.
    """
    if size is not None and size < 1:
        raise UsageError(
            f'micro_batch must be at least 1, or None, got {size}'
        )


def micro_batches(batch: int, size: int, device: torch.device) -> list[int]:
    """Sizes of micro-batches, as even as can be.

    Every process gets the same number of them, however many pairs it has:
    those that share out the parameters fetch them together.

    Args:
        batch: Pairs of this process.
        size: Most pairs of a micro-batch; exceeded where another process has
            fewer pairs than this one needs micro-batches.
        device: Where processes talk to each other.
    """
    everywhere = process_sizes(batch, device)
    count = min(-(-max(everywhere) // size), min(everywhere))
    least, more = divmod(batch, count)
    return [least + 1] * more + [least] * (count - more)


def split_tokens(tokens: TokenBatch, sizes: list[int]) -> list[TokenBatch]:
    """Cuts packed captions into runs.

    Args:
        tokens: B captions, packed.
        sizes: Captions of each run.
    """
    lengths = tokens.lengths.split(sizes)
    counts = torch.stack([part.sum() for part in lengths]).tolist()
    # Whatever else a token batch holds stands token by token.
    fields = {
        name: [None] * len(counts) if value is None else value.split(counts)
        for name, value in tokens._asdict().items()
        if name != 'lengths'
    }
    fields['lengths'] = lengths
    return [
        TokenBatch(**{name: parts[i] for name, parts in fields.items()})
        for i in range(len(counts))
    ]


def in_micro_batches(
    encode: Callable[[Any], tuple[Tensor | None, ...]],
    batch: Tensor | TokenBatch,
    sizes: list[int],
) -> tuple[Tensor | None, ...]:
    """Encodes a batch a few at a time, and again when gradients are due.

    Each micro-batch draws its own random numbers, in turn, and draws the
    same ones when it is computed again.

    Args:
        encode: Gives tensors whose first axes can be joined, or None.
        batch: Images or packed captions.
        sizes: Images or captions of each micro-batch; where there is but
            one, nothing is computed again.

    Returns:
        The joined tensors; None where `encode` gave None. Gradients of the
        parameters are those of `encode` called once.
    """
    if len(sizes) == 1:
        return encode(batch)
    if isinstance(batch, TokenBatch):
        parts, device = split_tokens(batch, sizes), batch.ids.device.type
    else:
        parts, device = batch.split(sizes), batch.device.type
    # One cast weight for all parts would collect their gradients in 16 bits,
    # where small ones are lost in the sum. Cast anew for each part, they
    # meet in the weight's own precision.
    cast_anew = torch.autocast(
        device,
        enabled=torch.is_autocast_enabled(device),
        cache_enabled=False,
    )
    with cast_anew:
        outputs = [
            checkpoint(encode, part, use_reentrant=False) for part in parts
        ]
    return tuple(
        None if column[0] is None else torch.cat(column)
        for column in zip(*outputs, strict=True)
    )


def refuse_batch_statistics(model: nn.Module) -> None:
    """Stops at layers for which a micro-batch is not a part of the batch.

    Args:
        model: A model; it is put into training mode, where its frozen parts
            stay in eval mode.

    Raises:
        ValueError: A layer normalises over the batch while training.
    """
    for name, module in model.train().named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            raise UsageError(
                f'micro_batch: {name} normalises over the batch '
                f'({type(module).__name__}), so micro-batches would change '
                'the model: freeze it, choose an encoder without batch '
                'normalisation, or leave micro_batch out'
            )
