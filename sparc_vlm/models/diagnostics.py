"""Two numbers for the log that tell whether the local loss sees pictures.

Neither has a gradient, and neither changes the training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparc_vlm.models.alignment import AlignmentFunction, group_patches
from sparc_vlm.models.contrastive import token_losses
from sparc_vlm.structures import PairEmbeddings

# Enough for a mean; more would cost time and memory at every step.
ROLLED_PAIRS = 64


@torch.no_grad()
def rolled_loss(pairs: PairEmbeddings, align: AlignmentFunction) -> Tensor:
    """The local loss with every caption beside the next pair's image.

    The distance from it to the true local loss is what the picture
    contributes; where there is none, the loss is won from the caption alone.

    Args:
        pairs: Embeddings of the batch, of which the first `ROLLED_PAIRS` are
            taken; padding must be finite.
        align: Gives the weights of the patches, (B, L, P).

    Returns:
        Scalar, mean over a caption's tokens, then over the batch.
    """
    tokens, mask = pairs.tokens[:ROLLED_PAIRS], pairs.token_mask[:ROLLED_PAIRS]
    patches = pairs.patches[:ROLLED_PAIRS].roll(-1, 0)
    grouped = group_patches(align(tokens, patches), patches)
    losses = token_losses(grouped, tokens, mask, pairs.logit_scale)
    return (losses.sum(1) / mask.sum(1).clamp(min=1)).mean()


@torch.no_grad()
def effective_patches(weights: Tensor, token_mask: Tensor) -> Tensor:
    """How many patches a token spreads over: exp of its weights' entropy.

    Args:
        weights: (B, L, P), not negative, adding up to 1 over the patches.
        token_mask: (B, L) bool, True on real tokens.

    Returns:
        Scalar between 1 and P, mean over the real tokens.
    """
    entropy = -torch.special.xlogy(weights, weights).sum(-1)
    return (entropy.exp() * token_mask).sum() / token_mask.sum().clamp(min=1)
