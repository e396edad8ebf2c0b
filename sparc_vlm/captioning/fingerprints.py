"""What tells one frozen part of a captioner from another."""

from __future__ import annotations

import torch
from torch import nn

from sparc_vlm.feature_maps import fingerprint
from sparc_vlm.weights import WeightsError

SAMPLED = 64
"""Values of each tensor that are looked at."""


def sampled_fingerprint(module: nn.Module) -> str:
    """A name for weights, whatever file holds them.

    Of a few values of each tensor, so that billions need not be read, and
    rounded, so that float32 and bfloat16 copies of a model are the same.

    Args:
        module: Whose parameters are looked at.
    """
    chosen = {}
    for name, weights in module.named_parameters():
        flat = weights.detach().flatten()
        step = max(len(flat) // SAMPLED, 1)
        chosen[name] = flat[::step][:SAMPLED].to(torch.bfloat16)
    return fingerprint(len(chosen), chosen)


def check_same(found: str, wanted: str, part: str, folder: object) -> None:
    """Stops where a frozen part is not the one that was trained with.

    Args:
        found: Fingerprint of the part that is there.
        wanted: Of the one that was trained with.
        part: What it is called.
        folder: Of the captioner that was trained.

    Raises:
        WeightsError: They differ.
    """
    if found != wanted:
        raise WeightsError(
            f'{folder} was trained with another {part}, under which its '
            'weights mean nothing: take the same one (in float16, other than '
            'in float32 and bfloat16, it may look like another)'
        )
