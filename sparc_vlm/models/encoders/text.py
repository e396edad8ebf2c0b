"""TextTransformer: a caption encoder that computes nothing on padding.

Captions stay packed in one long row of tokens from end to end. They are
sorted by length first, so that all captions of one length are one dense
block: attention runs block by block, without padding and without a mask,
and every other operation runs on the row as a whole.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sparc_vlm.errors import UsageError
from sparc_vlm.models.attention import attend
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch


class Block(NamedTuple):
    """`captions` captions of `length` tokens each, `tokens` in all."""

    captions: int
    length: int
    tokens: int


@MODELS.register_module()
class TextTransformer(nn.Module):
    """Pre-norm transformer, bidirectional over the caption.

    Args:
        vocab_size: Number of token ids.
        embed_dims: Width.
        num_layers: Number of layers.
        num_heads: Attention heads; must divide the width.
        max_length: Longest caption, in tokens.
        with_cp: Activation checkpointing of each layer.

    Raises:
        ValueError: Heads that do not divide the width.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_dims: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        max_length: int = 55,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise UsageError(
                f'embed_dims {embed_dims} must be a multiple of num_heads '
                f'{num_heads}'
            )
        self.embed_dims = embed_dims
        self.max_length = max_length
        self.with_cp = with_cp
        self.token_embed = nn.Embedding(vocab_size, embed_dims)
        self.pos_embed = nn.Embedding(max_length, embed_dims)
        self.layers = nn.ModuleList(
            TextLayer(embed_dims, num_heads) for _ in range(num_layers)
        )
        self.final_norm = nn.LayerNorm(embed_dims)
        self.init_weights()

    def init_weights(self) -> None:
        """Normal embeddings (0.02, 0.01), truncated normal layers (0.02)."""
        nn.init.normal_(self.token_embed.weight, std=0.02)
        nn.init.normal_(self.pos_embed.weight, std=0.01)
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: TokenBatch) -> Tensor:
        """Encodes captions.

        Args:
            tokens: Captions, packed.

        Returns:
            (N, C) features of the tokens, in the order of `tokens.ids`.

        Raises:
            ValueError: A caption that is longer than `max_length`.
        """
        layout = pack_by_length(tokens.lengths)
        if layout.blocks[-1].length > self.max_length:
            raise UsageError(
                f'a caption has {layout.blocks[-1].length} tokens, but '
                f'max_length is {self.max_length}: truncate it first'
            )
        features = self.token_embed(tokens.ids[layout.order])
        features = features + self.pos_embed(layout.places)
        for layer in self.layers:
            if self.with_cp and self.training:
                features = checkpoint(
                    layer, features, layout.blocks, use_reentrant=False
                )
            else:
                features = layer(features, layout.blocks)
        return self.final_norm(features)[layout.back]


class TextLayer(nn.Module):
    """One pre-norm layer: attention inside each caption, then an MLP.

    Args:
        embed_dims: Width; the MLP's hidden layer is 4 times as wide.
        num_heads: Attention heads.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(embed_dims)
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dims, 4 * embed_dims),
            nn.GELU(),
            nn.Linear(4 * embed_dims, embed_dims),
        )

    def forward(self, features: Tensor, blocks: list[Block]) -> Tensor:
        """Args as in `TextTransformer`; (N, C) in, (N, C) out."""
        features = features + self.proj(
            self._attend(self.qkv(self.norm1(features)), blocks)
        )
        return features + self.mlp(self.norm2(features))

    def _attend(self, qkv: Tensor, blocks: list[Block]) -> Tensor:
        outputs = []
        for block, part in zip(
            blocks, qkv.split([b.tokens for b in blocks]), strict=True
        ):
            # (captions, length, 3, heads, C') -> 3 x (captions, heads, ...)
            query, key, value = part.view(
                block.captions, block.length, 3, self.num_heads, -1
            ).permute(2, 0, 3, 1, 4)
            attended = attend(query, key, value)
            outputs.append(attended.transpose(1, 2).reshape(block.tokens, -1))
        return torch.cat(outputs)


class PackedLayout(NamedTuple):
    """How captions sorted by length stand in one row.

    Attributes:
        order: (N,) for each place of the sorted row, the token that stands
            there.
        back: (N,) the inverse of `order`.
        places: (N,) position of each sorted token inside its caption.
        blocks: Runs of captions of one length, shortest first.
    """

    order: Tensor
    back: Tensor
    places: Tensor
    blocks: list[Block]


def pack_by_length(lengths: Tensor) -> PackedLayout:
    """Sorts captions by length.

    The layout is worked out on the host, which has to know the lengths of
    the blocks: on a GPU that waits for the device once, not at every step.

    Args:
        lengths: (B,) tokens of each caption, all at least 1.
    """
    device, lengths = lengths.device, lengths.cpu()
    captions = lengths.argsort(stable=True)
    starts = lengths.cumsum(0) - lengths
    ordered = lengths[captions]
    total = int(lengths.sum())
    ends = ordered.cumsum(0)
    places = torch.arange(total)
    places = places - (ends - ordered).repeat_interleave(ordered)
    order = starts[captions].repeat_interleave(ordered) + places
    back = torch.empty_like(order)
    back[order] = torch.arange(total)
    sizes, counts = ordered.unique_consecutive(return_counts=True)
    blocks = [
        Block(count, size, count * size)
        for size, count in zip(sizes.tolist(), counts.tolist(), strict=True)
    ]
    return PackedLayout(
        *(
            index.to(device, non_blocking=True)
            for index in (order, back, places)
        ),
        blocks,
    )
