"""Deformable attention of several maps, as mmcv's compiled op.

mmcv has it in plain torch too and takes that on a CPU; on a GPU it calls the
op, which DINO and Deformable DETR need. Here the op is that plain torch, and
its gradient is autograd's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparc_vlm.compat.precision import precise


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Sums of values at places on the maps, weighted.

    Args:
        value: (B, K, heads, D) the L maps one after the other.
        value_spatial_shapes: (L, 2) int64 their rows and columns.
        value_level_start_index: Unused: it follows from the shapes.
        sampling_locations: (B, Q, heads, L, P, 2) x and y of each of the P
            samples, as shares of the map.
        attention_weights: (B, Q, heads, L, P).
        im2col_step: Unused: how the compiled op divides its work.

    Returns:
        (B, Q, heads * D).
    """
    return _attend(
        precise(value),
        value_spatial_shapes,
        precise(sampling_locations),
        precise(attention_weights),
    ).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Adds the gradients of `ms_deform_attn_forward`.

    Args:
        value: As there.
        value_spatial_shapes: As there.
        value_level_start_index: Unused.
        sampling_locations: As there.
        attention_weights: As there.
        grad_output: (B, Q, heads * D) gradient of what it returned.
        grad_value: Of the shape of `value`, added to here.
        grad_sampling_loc: Likewise, of `sampling_locations`.
        grad_attn_weight: Likewise, of `attention_weights`.
        im2col_step: Unused.
    """
    leaves = [
        precise(part.detach()).requires_grad_()
        for part in (value, sampling_locations, attention_weights)
    ]
    with torch.enable_grad():
        output = _attend(leaves[0], value_spatial_shapes, *leaves[1:])
    grads = torch.autograd.grad(output, leaves, precise(grad_output))
    sums = (grad_value, grad_sampling_loc, grad_attn_weight)
    for total, grad in zip(sums, grads, strict=True):
        total += grad


def _attend(
    value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    # mmcv imports this package's ops while it is imported itself.
    from mmcv.ops.multi_scale_deform_attn import (
        multi_scale_deformable_attn_pytorch,
    )

    # As numbers: each would wait for the device once for every use.
    return multi_scale_deformable_attn_pytorch(
        value, shapes.tolist(), locations, weights
    )
