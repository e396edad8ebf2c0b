"""A learned temperature, kept as the logarithm of its inverse.

As CLIP has it: the inverse never passes 100, so that training stays stable.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sparc_vlm.errors import UsageError

MAX_LOGIT_SCALE = 100.0
# A hair below: the exponential of the rounded logarithm is above 100.
MAX_LOG_SCALE = math.log(MAX_LOGIT_SCALE) - 1e-6


def learned_log_scale(temperature: float) -> nn.Parameter:
    """log(1 / temperature), to be learned.

    Name it so that it ends in 'log_scale': by that name the recipes' optimizer
    leaves it without weight decay.

    Args:
        temperature: Where it starts.

    Raises:
        ValueError: It is not above 0.
    """
    check_temperature(temperature)
    return nn.Parameter(torch.tensor(math.log(1 / temperature)))


def logit_scale(log_scale: Tensor) -> Tensor:
    """Scalar 1 / temperature, at most 100."""
    return log_scale.exp().clamp(max=MAX_LOGIT_SCALE)


def keep_in_range(log_scale: nn.Parameter) -> None:
    """Takes it back to the bound, beyond which it would have no gradient."""
    log_scale.data.clamp_(max=MAX_LOG_SCALE)


def check_temperature(temperature: float) -> None:
    """Raises a ValueError unless scores can be divided by it."""
    if not 0 < temperature < math.inf:
        raise UsageError(f'temperature must be above 0, got {temperature}')
