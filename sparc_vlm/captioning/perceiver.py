"""The Perceiver resampler, the paper's bridge to a language model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparc_vlm.captioning.projectors import Grid
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import MODELS


@MODELS.register_module()
class PerceiverResampler(nn.Module):
    """Learned queries that look at the patches, layer after layer.

    That of Flamingo (Alayrac et al., arXiv 2204.14198, appendix A.1.1), for a
    single picture, so without embeddings of time: in each layer the queries
    attend to the patches and to themselves, then go through a feed-forward
    part, both with a residual. Positions are left to the encoder, as there.
    Its width is the patches'; a linear layer after the last norm leads to the
    language model's, which Flamingo's cross-attention does itself.

    Args:
        in_dims: Width of a patch.
        out_dims: Width of a token.
        num_latents: Queries, so tokens of a picture.
        depth: Layers.
        num_heads: Heads of the attention.
        head_dims: Width of a head.
        expansion: Width inside the feed-forward part, in widths.

    Raises:
        ValueError: A count is not positive.
    """

    def __init__(
        self,
        in_dims: int,
        out_dims: int,
        num_latents: int = 64,
        depth: int = 6,
        num_heads: int = 8,
        head_dims: int = 64,
        expansion: int = 4,
    ) -> None:
        super().__init__()
        if min(num_latents, depth, num_heads, head_dims, expansion) < 1:
            raise UsageError(
                'num_latents, depth, num_heads, head_dims and expansion must '
                'be at least 1'
            )
        self.latents = nn.Parameter(torch.randn(num_latents, in_dims))
        self.layers = nn.ModuleList(
            _Layer(in_dims, num_heads, head_dims, expansion)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(in_dims)
        self.project = nn.Linear(in_dims, out_dims)

    def num_tokens(self, grid: Grid) -> int:
        """Tokens of a picture, whatever its grid."""
        return len(self.latents)

    def forward(self, patches: Tensor, grid: Grid) -> Tensor:
        """(B, num_latents, out_dims) tokens.

        Args:
            patches: (B, P, in_dims).
            grid: Not needed here; all projectors are called alike.
        """
        latents = self.latents.expand(len(patches), -1, -1)
        for layer in self.layers:
            latents = layer(latents, patches)
        return self.project(self.norm(latents))


class _Layer(nn.Module):
    """Attention and feed-forward, a norm before each and a residual."""

    def __init__(
        self, dims: int, num_heads: int, head_dims: int, expansion: int
    ) -> None:
        super().__init__()
        inner = num_heads * head_dims
        self.num_heads = num_heads
        self.norm_latents = nn.LayerNorm(dims)
        self.norm_patches = nn.LayerNorm(dims)
        self.query = nn.Linear(dims, inner, bias=False)
        self.key_value = nn.Linear(dims, 2 * inner, bias=False)
        self.out = nn.Linear(inner, dims, bias=False)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dims),
            nn.Linear(dims, expansion * dims, bias=False),
            nn.GELU(),
            nn.Linear(expansion * dims, dims, bias=False),
        )

    def forward(self, latents: Tensor, patches: Tensor) -> Tensor:
        latents = latents + self._attend(latents, patches)
        return latents + self.feed_forward(latents)

    def _attend(self, latents: Tensor, patches: Tensor) -> Tensor:
        latents = self.norm_latents(latents)
        seen = torch.cat([self.norm_patches(patches), latents], 1)
        key, value = self.key_value(seen).chunk(2, -1)
        heads = [
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(latents), key, value)
        ]
        found = F.scaled_dot_product_attention(*heads)
        return self.out(found.transpose(1, 2).flatten(2))
