"""One side of a pair attends to the other: tokens to patches, or back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparc_vlm.models.alignment import allowed_patches


class CrossAttention(nn.Module):
    """Softmax attention of one head, from the shared width and back to it.

    Args:
        embed_dims: D, the shared width.
        dims: Width of queries, keys and values.
    """

    def __init__(self, embed_dims: int, dims: int) -> None:
        super().__init__()
        self.query = nn.Linear(embed_dims, dims, bias=False)
        self.key = nn.Linear(embed_dims, dims, bias=False)
        self.value = nn.Linear(embed_dims, dims, bias=False)
        self.out = nn.Linear(dims, embed_dims, bias=False)

    def weigh(
        self, asking: Tensor, asked: Tensor, allowed: Tensor | None
    ) -> Tensor:
        """(B, N, M) weights of what is asked, for each that asks.

        Args:
            asking: (B, N, D).
            asked: (B, M, D).
            allowed: (B, N, M) bool, or None for all; a row that allows
                nothing is opened to everything.
        """
        asking, asked = (self._like_weights(x) for x in (asking, asked))
        query, key = self.query(asking), self.key(asked)
        scores = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
        allowed = allowed_patches(allowed, scores)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        wide = torch.promote_types(scores.dtype, torch.float32)
        return scores.softmax(-1, dtype=wide)

    def forward(
        self, asking: Tensor, asked: Tensor, allowed: Tensor | None
    ) -> Tensor:
        """(B, N, D) what each that asks has gathered; Args as in `weigh`."""
        weights = self.weigh(asking, asked, allowed)
        value = self.value(self._like_weights(asked))
        return self.out(weights.to(value.dtype) @ value)

    def _like_weights(self, values: Tensor) -> Tensor:
        """In the type of the weights, unless autocast chooses its own."""
        if torch.is_autocast_enabled(values.device.type):
            return values
        return values.to(self.query.weight.dtype)
