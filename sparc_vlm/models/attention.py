"""Attention as this project's transformers run it.

PyTorch's fused kernel everywhere, but for training on a CPU over few tokens:
there its backward pass takes several times as long as the same products
written out, and the matrix of weights that those keep is small.
"""

from __future__ import annotations

import torch
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor
from torch.nn import functional as F

WRITTEN_OUT_UP_TO = 256
"""Longest sequence whose weights are kept, when training on a CPU."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0
) -> Tensor:
    """Softmax attention, scaled by the root of the width.

    Args:
        query: (B, heads, N, C).
        key: (B, heads, M, C).
        value: (B, heads, M, C).
        dropout_p: Share of the weights to drop.

    Returns:
        (B, heads, N, C).
    """
    if (
        query.device.type != 'cpu'
        or not torch.is_grad_enabled()
        or key.shape[-2] > WRITTEN_OUT_UP_TO
        or dropout_p
    ):
        return F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout_p
        )
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return scores.softmax(-1, dtype=scores.dtype) @ value


class PatchAttention(MultiheadAttention):
    """mmpretrain's attention, with the same parameters and values.

    Query, key and value are unbound at once: taken one by one, each would
    fill a gradient of the size of all three.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) in, (B, N, C) out.

        Args:
            tokens: Patches of B images.
        """
        batch, count, _ = tokens.shape
        query, key, value = (
            self.qkv(tokens)
            .view(batch, count, 3, self.num_heads, self.head_dims)
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )
        dropout = self.attn_drop if self.training else 0.0
        mixed = attend(query, key, value, dropout)
        mixed = mixed.transpose(1, 2).reshape(batch, count, self.embed_dims)
        return self.out_drop(self.gamma1(self.proj_drop(self.proj(mixed))))
