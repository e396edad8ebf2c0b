"""Floating-point operations of a step, as torch counts them.

Matrix products, convolutions and attention; an addition and a multiplication
count as two. What works element by element (norms, softmax, activation
functions, the optimizer) is not counted: it is a hundredth of the whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

Shape = torch.Size


def flop_counter() -> FlopCounterMode:
    """torch's counter, which knows the CPU's fused attention as well.

    Its way back computes the weights again, five products where writing them
    out takes four; that is counted, as torch does for other devices.
    """
    return FlopCounterMode(
        display=False,
        custom_mapping={
            _ATTENTION: _attention,
            _ATTENTION_BACKWARD: _attention_backward,
        },
    )


_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_ATTENTION_BACKWARD = (
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
)


def _attention(
    query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)
