"""Where to compute: a device by its name, or what there is in its place."""

from __future__ import annotations

import torch

from sparc_vlm.errors import UsageError


def best_device() -> str:
    """The GPU if there is one."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def find_device(name: str | torch.device) -> torch.device:
    """A device that computes, asked for before a model is loaded.

    Args:
        name: As torch has it: 'cpu', 'cuda', 'cuda:1'.

    Raises:
        ValueError: There is none of that name on this machine.
    """
    try:
        device = torch.device(name)
        # A name may be known and nothing be behind it: the machine, or this
        # torch, has no such device. Each kind says so in its own way.
        torch.zeros(1, device=device).item()
    except Exception as error:
        count = torch.cuda.device_count()
        known = ['cpu', *(f'cuda:{number}' for number in range(count))]
        raise UsageError(
            f'torch cannot compute on the device {str(name)!r} here: choose '
            f'{" or ".join(known)}'
        ) from error
    return device
