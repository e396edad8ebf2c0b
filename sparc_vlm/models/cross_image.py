"""A token must prefer its own picture's patches over other pictures'.

The local loss of equation 6 never leaves its pair, so that it can be won
without a look at the picture. Here the negatives are patches of other images
of the batch, grouped by the same token: the caption alone no longer decides.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.models.alignment import AlignmentFunction, group_patches
from sparc_vlm.models.contrastive import average_tokens, unit
from sparc_vlm.structures import PairEmbeddings


def cross_image_info_nce(
    pairs: PairEmbeddings,
    grouped: Tensor,
    align: AlignmentFunction,
    count: int,
) -> Tensor:
    """InfoNCE of each token over its own image and `count` others.

    The others are the next ones in this process's batch, which is in random
    order; where it holds fewer, all of them. Images of other processes are no
    negatives. The mean is taken over a caption's tokens, then over the batch
    of all processes, as in equation 6. An image alone in its batch has no
    other: the loss is 0.

    Args:
        pairs: Embeddings of the batch; padding must be finite. A
            `patch_mask` belongs to the own image alone: in another one every
            patch may be looked at.
        grouped: (B, L, D) c_l of the own images.
        align: Gives the weights of the patches, (B, L, P).
        count: K, other images for each token.

    Returns:
        Scalar loss, this process's share (see `contrastive`).
    """
    others = min(count, len(pairs.image) - 1)
    with torch.autocast(grouped.device.type, enabled=False):
        tokens = unit(pairs.tokens)
        matches = [(unit(grouped) * tokens).sum(-1)]
        for shift in range(1, others + 1):
            patches = pairs.patches.roll(-shift, 0)
            weights = align(pairs.tokens, patches)
            other = unit(group_patches(weights, patches))
            matches.append((other * tokens).sum(-1))
        logits = pairs.logit_scale.to(tokens.dtype) * torch.stack(matches, -1)
        losses = -F.log_softmax(logits, -1)[..., 0]
    losses = torch.where(pairs.token_mask, losses, 0.0)
    return average_tokens(losses, pairs.token_mask)
