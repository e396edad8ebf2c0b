"""Sigmoid focal loss of class indices in plain torch, as mmcv's compiled op.

MMDetection calls it on GPUs, where RetinaNet, FCOS and their kin train; on a
CPU it has a form of its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sparc_vlm.compat.precision import precise


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """-a (1 - p)^g log(p) where a class is right, as RetinaNet has it.

    Where it is wrong, -(1 - a) p^g log(1 - p).

    Args:
        input: (N, C) logits.
        target: (N,) int64 right class of each row; C for none.
        weight: (C,) of the rows of each class, or empty. A row of no class
            has weight 1; the compiled op reads past the end there.
        output: (N, C), filled here.
        gamma: g, how much less a clear case counts.
        alpha: a, the share of what is right.
    """
    logits = precise(input)
    right = _right(logits, target)
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    loss = torch.where(
        right,
        -alpha * (gamma * log_q).exp() * log_p,
        (alpha - 1) * (gamma * log_p).exp() * log_q,
    )
    output.copy_(_weighted(loss, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """The derivative of each loss with respect to its own logit.

    Args:
        input: (N, C) logits.
        target: As `sigmoid_focal_loss_forward`.
        weight: As `sigmoid_focal_loss_forward`.
        grad_input: (N, C), filled here.
        gamma: As `sigmoid_focal_loss_forward`.
        alpha: As `sigmoid_focal_loss_forward`.
    """
    logits = precise(input)
    right = _right(logits, target)
    p, q = logits.sigmoid(), (-logits).sigmoid()
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    grad = torch.where(
        right,
        alpha * (gamma * log_q).exp() * (gamma * p * log_p - q),
        (1 - alpha) * (gamma * log_p).exp() * (p - gamma * q * log_q),
    )
    grad_input.copy_(_weighted(grad, target, weight))


def _right(logits: Tensor, target: Tensor) -> Tensor:
    """(N, C) bool: the class of each row."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    return target[:, None] == classes


def _weighted(values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    if not weight.numel():
        return values
    rows = torch.cat([weight, weight.new_ones(1)])[target]
    return values * rows[:, None]
