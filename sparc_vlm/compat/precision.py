"""The kind of number that stand-ins compute in."""

from __future__ import annotations

import torch
from torch import Tensor


def precise(tensor: Tensor) -> Tensor:
    """float64 as it is, anything else in float32.

    Args:
        tensor: Of any floating type.
    """
    return tensor if tensor.dtype == torch.float64 else tensor.float()
