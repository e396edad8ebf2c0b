"""Two numbers for the log that tell whether the local loss sees pictures.

Neither has a gradient, and neither changes the training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparc_vlm.models.alignment import AlignmentFunction, group_patches
from sparc_vlm.models.contrastive import TokenAverage, token_losses
from sparc_vlm.structures import PairEmbeddings

# Enough for a mean; more would cost time and memory at every step.
ROLLED_PAIRS = 64


@torch.no_grad()
def rolled_loss(
    pairs: PairEmbeddings,
    align: AlignmentFunction,
    average: TokenAverage = 'sample',
    ignored: Tensor | None = None,
) -> Tensor:
    """The local loss with every caption beside the next pair's image.

    The distance from it to the true local loss is what the picture
    contributes; where there is none, the loss is won from the caption alone.

    Args:
        pairs: Embeddings of the batch, of which the first `ROLLED_PAIRS` are
            taken; padding must be finite.
            A caption takes its `patch_mask` along to the other image.
        align: Gives the weights of the patches, (B, L, P).
        average: As for the local loss, see `caption_info_nce`.
        ignored: (B, L, L) bool, negatives that the local loss leaves out.

    Returns:
        Scalar, the mean as the local loss takes it.
    """
    some = slice(ROLLED_PAIRS)
    tokens, mask = pairs.tokens[some], pairs.token_mask[some]
    patches = pairs.patches[some].roll(-1, 0)
    allowed = None if pairs.patch_mask is None else pairs.patch_mask[some]
    ignored = None if ignored is None else ignored[some]
    grouped = group_patches(align(tokens, patches, allowed), patches)
    losses = token_losses(grouped, tokens, mask, pairs.logit_scale, ignored)
    if average == 'token':
        return losses.sum() / mask.sum().clamp(min=1)
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
