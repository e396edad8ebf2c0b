"""TextTransformer: a caption encoder that computes nothing on padding.

Captions stay packed in one long row of tokens from end to end. They are
sorted by length first (see `packing`), attention stays inside each of them,
and every other operation runs on the row as a whole.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sparc_vlm.errors import UsageError
from sparc_vlm.models.attention import attend_packed
from sparc_vlm.models.packing import PackedLayout, pack_by_length
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch


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
        layout = pack_by_length(tokens.lengths, tokens.ids.device)
        if layout.longest > self.max_length:
            raise UsageError(
                f'a caption has {layout.longest} tokens, but max_length is '
                f'{self.max_length}: truncate it first'
            )
        features = self.token_embed(tokens.ids[layout.order])
        features = features + self.pos_embed(layout.places)
        for layer in self.layers:
            if self.with_cp and self.training:
                features = checkpoint(
                    layer, features, layout, use_reentrant=False
                )
            else:
                features = layer(features, layout)
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

    def forward(self, features: Tensor, layout: PackedLayout) -> Tensor:
        """(N, C) in, (N, C) out.

        Args:
            features: Of the sorted row's tokens.
            layout: Which of them make a caption.
        """
        qkv = self.qkv(self.norm1(features))
        mixed = attend_packed(qkv, self.num_heads, layout)
        features = features + self.proj(mixed)
        return features + self.mlp(self.norm2(features))
