"""Objectives on random embeddings: what there is to time, and how.

For `loss_memory` and `losses`; on a CPU or a GPU.
"""

from __future__ import annotations

import argparse
import inspect
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.process_memory import resident
from sparc_vlm.models.objectives import (
    CLIP,
    FILIP,
    MGCA,
    PACL,
    SPARC,
    GLoRIA,
    SigLIP,
)
from sparc_vlm.structures import PairEmbeddings

OBJECTIVES = {
    kind.__name__.lower(): kind
    for kind in (CLIP, FILIP, GLoRIA, MGCA, PACL, SPARC, SigLIP)
}


def build_objective(
    name: str, width: int, budget: int | None, **options: Any
) -> nn.Module:
    """An objective as it is when nothing is said, for embeddings of a width.

    Args:
        name: One of `OBJECTIVES`.
        width: Of the embeddings.
        budget: Bytes of a block, for those that work in blocks.
        options: More arguments of the objective.
    """
    kind = OBJECTIVES[name]
    asked = dict(embed_dims=width, budget=budget)
    known = inspect.signature(kind).parameters
    return kind(**{k: v for k, v in asked.items() if k in known}, **options)


def random_pairs(
    args: argparse.Namespace, lengths: list[int] | None = None
) -> PairEmbeddings:
    """Random embeddings, made where they stay: nothing is held twice.

    Args:
        args: Of the command line.
        lengths: Real tokens of each caption; all of them if None.
    """
    torch.manual_seed(args.seed)
    kind = dict(dtype=getattr(torch, args.dtype), device=args.device)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, **kind).requires_grad_()

    batch, width = args.batch, args.width
    real = torch.tensor([args.tokens] * batch if lengths is None else lengths)
    mask = torch.arange(args.tokens) < real[:, None]
    return PairEmbeddings(
        patches=draw(batch, args.patches, width),
        image=draw(batch, width),
        tokens=draw(batch, args.tokens, width),
        text=draw(batch, width),
        token_mask=mask.to(args.device),
        logit_scale=torch.tensor(
            1 / 0.07, device=args.device, requires_grad=True
        ),
    )


def peak_memory(device: str) -> int:
    """Most memory held so far, in bytes.

    Args:
        device: On a GPU that of torch's allocator, else of the process.
    """
    if torch.device(device).type == 'cuda':
        return torch.cuda.max_memory_allocated()
    return resident()


def forward_backward(
    loss_function: Callable[[PairEmbeddings], Tensor],
    pairs: PairEmbeddings,
    autocast: bool,
) -> tuple[Tensor, float, float]:
    """One loss with its gradients.

    Args:
        loss_function: Gives the loss, not yet weighed against others.
        pairs: What it looks at; their gradients are added to.
        autocast: Whether products are in bfloat16.

    Returns:
        The loss, seconds in all, and seconds of the forward pass.
    """
    device = pairs.image.device.type
    begin = time.perf_counter()
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        loss = loss_function(pairs)
    forward = time.perf_counter() - begin
    loss.backward()
    if device == 'cuda':
        torch.cuda.synchronize()
    return loss.detach(), time.perf_counter() - begin, forward


def sum_of_losses(losses: dict[str, Tensor]) -> Tensor:
    """What is trained on of all that an objective returns.

    Args:
        losses: Losses, weighted, and values for the log.
    """
    return sum(value for name, value in losses.items() if 'loss' in name)


def input_bytes(pairs: PairEmbeddings) -> tuple[int, int]:
    """Memory of the embeddings, and of the gradients that they have.

    Args:
        pairs: After the backward pass.
    """
    inputs = [pairs.patches, pairs.image, pairs.tokens, pairs.text]
    gradients = [value.grad for value in inputs if value.grad is not None]
    return tuple(sum(v.nbytes for v in side) for side in (inputs, gradients))
