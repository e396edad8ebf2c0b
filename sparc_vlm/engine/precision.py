"""Full precision where a CPU only imitates bfloat16.

A CPU without bfloat16 instructions computes matrix products in it tens of
times slower than in float32, so that autocast, there to save time, would make
a run of minutes one of hours.
"""

from __future__ import annotations

import platform

import torch
from mmengine.config import Config

KEY = 'optim_wrapper.dtype'
X86 = ('x86_64', 'AMD64')


def computes_bfloat16() -> bool:
    """Whether this machine's accelerator or CPU computes in bfloat16."""
    if torch.accelerator.is_available():
        return True
    if platform.machine() in X86:
        # AVX-512 alone counts below, and converts to and fro.
        return torch.cpu._is_avx512_bf16_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def fit_precision(cfg: Config, asked: bool = False) -> list[str]:
    """Turns autocast to bfloat16 off where it only costs time, in place.

    Args:
        cfg: The config.
        asked: Whether the type was asked for on the command line; it stays
            then.

    Returns:
        Lines that say what was changed.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    if asked or wrapper.get('dtype') != 'bfloat16' or computes_bfloat16():
        return []
    wrapper.dtype = None
    return [
        'precision: this CPU has no instructions for bfloat16, so training is '
        f'in float32; {KEY}=bfloat16 on the command line keeps it'
    ]
