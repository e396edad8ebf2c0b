"""What each patch token predicts: a box, and how well each word fits it.

OWL-ViT, https://arxiv.org/abs/2205.06230, section 3.1. Hidden layers run in
whatever precision autocast says; places and cosines need float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparc_vlm.registry import MODELS


@MODELS.register_module()
class BoxHead(nn.Module):
    """A three-layer MLP; its boxes begin as the patches themselves.

    Args:
        width: Of the patch tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
        )
        self.out = nn.Linear(width, 4)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, values: Tensor, bias: Tensor) -> Tensor:
        """(B, P, 4) boxes as shares: centre x and y, width and height.

        Args:
            values: (B, P, C) patch tokens.
            bias: (B, P, 4) box bias, see `PatchGrid.box_bias`.
        """
        hidden = self.hidden(values)
        with torch.autocast(values.device.type, enabled=False):
            offsets = self.out(hidden.to(self.out.weight))
        return (offsets + bias).sigmoid()


@MODELS.register_module()
class WordHead(nn.Module):
    """Cosines with the words, shifted and scaled by each token.

    The shift is learned in logits of the start: a step of its weights moves
    all logits alike, as far whatever the scale. As a cosine, times a scale of
    10, it would move them ten times as far, to and fro, and what words differ
    in would be lost in a gradient that is clipped.

    Args:
        width: Of the patch tokens.
        prior: Probability of a word whose cosine is 0 at the start; OWL-ViT's
            own start, one half, takes thousands of updates to come down.
            Pretrained cosines are above 0 on the whole, and begin higher.
        scale: What the sum of cosine and shift is multiplied by at the
            start; always positive.
    """

    def __init__(
        self, width: int, prior: float = 0.001, scale: float = 10.0
    ) -> None:
        super().__init__()
        self.unit = scale
        self.shift = nn.Linear(width, 1)
        self.scale = nn.Linear(width, 1)
        for layer in (self.shift, self.scale):
            nn.init.zeros_(layer.weight)
        nn.init.constant_(self.shift.bias, math.log(prior / (1 - prior)))
        # forward adds the 1 that keeps it above 0
        nn.init.constant_(self.scale.bias, scale - 1)

    def forward(self, values: Tensor, dense: Tensor, words: Tensor) -> Tensor:
        """(B, P, Q) logits, in the precision of the weights.

        Args:
            values: (B, P, C) patch tokens.
            dense: (B, P, D) their embeddings in the space of texts.
            words: (B, Q, D) normalised embeddings of each picture's words.
        """
        with torch.autocast(values.device.type, enabled=False):
            values = values.to(self.scale.weight)
            dense = F.normalize(dense.to(values), dim=-1)
            cosines = dense @ words.to(dense).transpose(1, 2)
            scale = F.elu(self.scale(values)) + 1
            return (cosines + self.shift(values) / self.unit) * scale
