"""Two numbers for the log that tell whether the local loss sees pictures.

Neither has a gradient, and neither changes the training.
"""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from sparc_vlm.models.alignment import AlignmentFunction, group_patches
from sparc_vlm.models.contrastive import TokenAverage, token_losses
from sparc_vlm.structures import PairEmbeddings

# Enough for a mean over the steps of a log line; more would cost time at each.
ROLLED_PAIRS = 32


def first_pairs(pairs: PairEmbeddings) -> PairEmbeddings:
    """The first `ROLLED_PAIRS` of a batch, without gradients.

    Args:
        pairs: Embeddings of the batch.
    """
    cut = {
        field.name: value if value.ndim == 0 else value[:ROLLED_PAIRS]
        for field in fields(pairs)
        if (value := getattr(pairs, field.name)) is not None
    }
    return replace(
        pairs, **{name: value.detach() for name, value in cut.items()}
    )


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
        pairs: Some pairs of a batch, see `first_pairs`; padding must be
            finite. A caption takes its `patch_mask` along to the other image.
        align: Gives the weights of the patches, (B, L, P).
        average: As for the local loss, see `caption_info_nce`.
        ignored: (B, L, L) bool, negatives that the local loss leaves out.

    Returns:
        Scalar, the mean as the local loss takes it.
    """
    tokens, mask = pairs.tokens, pairs.token_mask
    patches = pairs.patches.roll(-1, 0)
    grouped = group_patches(align(tokens, patches, pairs.patch_mask), patches)
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


@torch.no_grad()
def spread_of(
    objective: nn.Module, pairs: PairEmbeddings, logged: dict[str, Tensor]
) -> dict[str, Tensor]:
    """`effective_patches` of an objective that aligns but does not log it.

    Args:
        objective: What is trained.
        pairs: Embeddings of the batch.
        logged: What the objective returned.

    Returns:
        Nothing where the objective aligns nothing, or says so itself.
    """
    if 'effective_patches' in logged or not hasattr(objective, 'align'):
        return {}
    some = first_pairs(pairs)
    weights = objective.align(some.tokens, some.patches)
    return dict(effective_patches=effective_patches(weights, some.token_mask))
