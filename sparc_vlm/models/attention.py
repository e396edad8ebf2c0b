"""Attention as this project's transformers run it.

PyTorch's fused kernel everywhere, but for training on a CPU over few tokens:
there its backward pass takes several times as long as the same products
written out, and the matrix of weights that those keep is small. Captions of
many lengths are one call on a GPU, which a call for each length would keep
waiting.
"""

from __future__ import annotations

import torch
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn

from sparc_vlm.models.packing import PackedLayout

WRITTEN_OUT_UP_TO = 256
"""Longest sequence whose weights are kept, when training on a CPU."""
FLASH_FROM = (8, 0)
"""First compute capability that the flash kernel runs on."""
FLASH_MULTIPLE, FLASH_WIDEST = 8, 256
"""Widths of a head that it takes."""


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


def attend_packed(qkv: Tensor, heads: int, layout: PackedLayout) -> Tensor:
    """Attention inside each of many captions, bidirectional.

    Args:
        qkv: (N, 3 C) query, key and value of each token of the sorted row.
        heads: Attention heads.
        layout: Which tokens make a caption.

    Returns:
        (N, C).
    """
    if _in_one_kernel(qkv, heads):
        query, key, value = qkv.view(len(qkv), 3, heads, -1).unbind(1)
        bounds, longest = layout.bounds, layout.longest
        mixed = varlen_attn(
            query, key, value, bounds, bounds, longest, longest
        )
        return mixed.flatten(1)
    outputs = []
    parts = qkv.split([block.tokens for block in layout.blocks])
    for block, part in zip(layout.blocks, parts, strict=True):
        # (captions, length, 3, heads, C') -> 3 x (captions, heads, ...)
        query, key, value = part.view(
            block.captions, block.length, 3, heads, -1
        ).permute(2, 0, 3, 1, 4)
        attended = attend(query, key, value)
        outputs.append(attended.transpose(1, 2).reshape(block.tokens, -1))
    return torch.cat(outputs)


def _in_one_kernel(qkv: Tensor, heads: int) -> bool:
    """Whether the flash kernel for many lengths takes these values."""
    width = qkv.shape[1] // (3 * heads)
    return (
        qkv.is_cuda
        and width % FLASH_MULTIPLE == 0
        and width <= FLASH_WIDEST
        and qkv.dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(qkv.device) >= FLASH_FROM
    )


class PatchAttention(MultiheadAttention):
    """mmpretrain's attention, with the same parameters and values.

    Query, key and value are unbound at once, and along an axis that leaves
    them where they are: taken one by one, each would fill a gradient of the
    size of all three, and along another the three would be copied once more.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) in, (B, N, C) out.

        Args:
            tokens: Patches of B images.
        """
        return self.leave(self.mix(self.qkv(tokens)))

    def mix(self, qkv: Tensor) -> Tensor:
        """What each patch gathers from all patches of its row.

        Args:
            qkv: (B, N, 3 C) query, key and value.

        Returns:
            (B, N, C).
        """
        batch, count, _ = qkv.shape
        query, key, value = (
            part.transpose(1, 2)
            for part in qkv.view(
                batch, count, 3, self.num_heads, self.head_dims
            ).unbind(2)
        )
        dropout = self.attn_drop if self.training else 0.0
        mixed = attend(query, key, value, dropout)
        return mixed.transpose(1, 2).reshape(batch, count, self.embed_dims)

    def leave(self, mixed: Tensor) -> Tensor:
        """(B, N, C) in, (B, N, C) out: the way back to the tokens.

        Args:
            mixed: What was gathered.
        """
        return self.out_drop(self.gamma1(self.proj_drop(self.proj(mixed))))
