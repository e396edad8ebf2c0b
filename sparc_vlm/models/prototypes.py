"""Prototypes shared by images and texts, and the loss of swapped predictions.

Each image and each text is assigned to prototypes; what the image is assigned
to is to be predicted from its text, and the other way round. Assignments use
all prototypes evenly over the batch of all processes (Sinkhorn), so that they
cannot all fall together.
"""

from __future__ import annotations

import torch
from mmengine import dist
from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.models.contrastive import unit
from sparc_vlm.models.gather import gather_rows, global_sum


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Assigns samples to prototypes, each prototype evenly often.

    In turns, every prototype gets the same share of the samples of all
    processes, and every sample one unit of prototypes. Works on logarithms,
    so that a small epsilon does not run out of numbers.

    Args:
        scores: (B, K) similarities of this process's samples.
        epsilon: Smaller is sharper.
        iterations: How many turns.

    Returns:
        (B, K) without gradient, not negative, rows adding up to 1.
    """
    codes = scores / epsilon
    for _ in range(iterations):
        codes = codes - _log_total(codes)
        codes = codes.log_softmax(1)
    return codes.exp()


class Prototypes(nn.Module):
    """K directions in the shared space.

    Their lengths mean nothing: they are normalised wherever they are used.

    Args:
        embed_dims: D, the shared width.
        count: K.
        epsilon: Of Sinkhorn's assignments.
        iterations: Of Sinkhorn's.

    Raises:
        ValueError: An epsilon of 0 or less, or fewer than 1 of anything.
    """

    def __init__(
        self,
        embed_dims: int,
        count: int = 500,
        epsilon: float = 0.05,
        iterations: int = 3,
    ) -> None:
        super().__init__()
        if epsilon <= 0 or min(embed_dims, count, iterations) < 1:
            raise UsageError(
                'prototypes need epsilon above 0 and at least 1 dimension, '
                f'prototype and iteration, got epsilon={epsilon}, '
                f'embed_dims={embed_dims}, count={count}, '
                f'iterations={iterations}'
            )
        self.directions = nn.Parameter(torch.randn(count, embed_dims))
        self.epsilon = epsilon
        self.iterations = iterations

    def forward(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        """Cross-entropy of swapped predictions, the mean of both.

        Args:
            image: (B, D) global image embeddings; normalised here.
            text: (B, D) global text embeddings; normalised here.
            scale: scalar, 1 / temperature of the predictions.

        Returns:
            Scalar loss, this process's share (see `contrastive`).
        """
        with torch.autocast(image.device.type, enabled=False):
            image, text = unit(image), unit(text)
            directions = unit(self.directions).to(image.dtype)
            near_image, near_text = image @ directions.T, text @ directions.T
            by_image, by_text = (
                sinkhorn(near, self.epsilon, self.iterations)
                for near in (near_image, near_text)
            )
            scale = scale.to(image.dtype)
            from_image = (scale * near_image).log_softmax(1)
            from_text = (scale * near_text).log_softmax(1)
            total = (by_image * from_text + by_text * from_image).sum() / 2
        count = torch.full((), len(image), device=image.device)
        return -total * dist.get_world_size() / global_sum(count)


def _log_total(values: Tensor) -> Tensor:
    """(K,) logsumexp of (B, K) over the samples of all processes."""
    own = values.logsumexp(0, keepdim=True)
    processes = dist.get_world_size()
    return gather_rows(own, [1] * processes).rows.logsumexp(0)
