"""x-clip's fine-grained loss on embeddings that are given.

Its own model computes similarities and loss. Its encoders, which it lets its
users choose, hand on what they are given, and its projections are left out,
since the losses beside it have none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sparc_vlm.structures import PairEmbeddings

PADDING, WORD = 0, 1
NEEDED = (
    "x-clip is not installed: pip install 'sparc_vlm[benchmark]', or choose "
    '--peers plain, or --alone'
)


class Handed(nn.Module):
    """An encoder that returns the tokens that it was given before.

    Attributes:
        tokens: (B, L, D).
    """

    tokens: Tensor

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The tokens, whatever the ids."""
        return self.tokens


class XClipLoss(nn.Module):
    """x-clip's loss in the style of FILIP.

    It differs from FILIP in one thing that makes no difference to its cost:
    both directions are contrasted over the images, one caption at a time.

    Args:
        width: D, the shared width.
        logit_scale: 1 / temperature; learned, as there.

    Raises:
        ImportError: x-clip is not installed.
    """

    def __init__(self, width: int, logit_scale: float) -> None:
        super().__init__()
        from x_clip import CLIP

        self.encoder = Handed()
        self.model = CLIP(
            image_encoder=nn.Identity(),
            text_encoder=self.encoder,
            dim_text=width,
            dim_image=width,
            dim_latent=width,
            text_has_cls_token=False,
            visual_has_cls_token=False,
            text_pad_id=PADDING,
            use_all_token_embeds=True,
        )
        self.model.to_text_latent = nn.Identity()
        self.model.to_visual_latent = nn.Identity()
        with torch.no_grad():
            self.model.temperature.fill_(math.log(logit_scale))

    def forward(self, pairs: PairEmbeddings) -> Tensor:
        """The loss.

        Args:
            pairs: Embeddings of the batch; its `logit_scale` is not used.
        """
        self.encoder.tokens = pairs.tokens
        ids = torch.where(pairs.token_mask, WORD, PADDING)
        return self.model(ids, pairs.patches, return_loss=True)
