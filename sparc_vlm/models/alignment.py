"""Which patches a token looks at: equations 2 to 5 and their ablations.

Everything here stays inside one image-text pair: the largest tensor is
(B, L, P), so that cost and memory grow linearly with the batch. Weights are
computed in float32 whatever autocast says, since a min-max over bf16 scores
moves patches across the threshold.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError

AlignmentFunction = Callable[..., Tensor]


def alignment_scores(tokens: Tensor, patches: Tensor) -> Tensor:
    """Inner products s_{l,p} = <t_l, v_p>, not normalised.

    Args:
        tokens: (B, L, D) token embeddings.
        patches: (B, P, D) patch embeddings.

    Returns:
        (B, L, P) scores, in float32 or the wider type of the inputs.

    Raises:
        ValueError: The shapes do not belong to the same batch of pairs.
    """
    if (
        tokens.ndim != 3
        or patches.ndim != 3
        or tokens.shape[0] != patches.shape[0]
        or tokens.shape[2] != patches.shape[2]
    ):
        raise UsageError(
            'alignment needs tokens (B, L, D) and patches (B, P, D) of the '
            f'same pairs and width, got {tuple(tokens.shape)} and '
            f'{tuple(patches.shape)}'
        )
    with torch.autocast(tokens.device.type, enabled=False):
        return _wide(tokens) @ _wide(patches).transpose(1, 2)


def sparse_alignment(
    tokens: Tensor,
    patches: Tensor,
    threshold: float | None = None,
    patch_mask: Tensor | None = None,
) -> Tensor:
    """Alignment weights a_{l,p} of equations 2 to 4.

    Gradients flow through the scores and their minimum (tied minima share
    theirs evenly). Through the maximum they flow as well, but what comes by
    equation 2 and what comes by equation 4 cancel; the comparison with the
    threshold has none.

    Where the paper is silent:

    * A token whose patches all score the same (up to the rounding of their
      type) has no minimum to subtract: it gets the same weight everywhere,
      and passes no gradient to its scores.
    * With a `patch_mask`, minimum, maximum and P count the allowed patches
      only. A token that may look at no patch at all (a function word, where
      masks come from boxes) may look at all of them.

    Args:
        tokens: (B, L, D) token embeddings.
        patches: (B, P, D) patch embeddings.
        threshold: sigma of equation 3, between 0 and 1; None means 1 / P.
        patch_mask: (B, L, P) bool, the patches that a token may look at.

    Returns:
        (B, L, P) weights, not negative, adding up to 1 over the patches.
        Padded tokens get weights as well; what they hold means nothing.

    Raises:
        ValueError: Shapes that do not fit, or a threshold outside [0, 1].
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(
            f'threshold is compared with scores between 0 and 1, got '
            f'{threshold}'
        )

    def sigma(relative: Tensor, count: Tensor) -> Tensor | float:
        return 1 / count if threshold is None else threshold

    return thresholded_alignment(tokens, patches, sigma, patch_mask)


def thresholded_alignment(
    tokens: Tensor,
    patches: Tensor,
    sigma: Callable[[Tensor, Tensor], Tensor | float],
    patch_mask: Tensor | None = None,
) -> Tensor:
    """Equations 2 to 4 with a threshold that may depend on the scores.

    Args:
        tokens: (B, L, D) token embeddings.
        patches: (B, P, D) patch embeddings.
        sigma: Gives the threshold, at least 0 and at most 1, from the scores
            (B, L, P) of equation 2, without gradient and -inf where a patch
            is not allowed, and from the number (B, L, 1) of allowed patches.
        patch_mask: (B, L, P) bool, the patches that a token may look at.

    Returns:
        As `sparse_alignment`.
    """
    scores = alignment_scores(tokens, patches)
    allowed = allowed_patches(patch_mask, scores)
    if allowed is None:
        lowest = scores.amin(-1, keepdim=True)
        highest = scores.amax(-1, keepdim=True)
        count = torch.full_like(highest, scores.shape[-1])
    else:
        lowest = scores.masked_fill(~allowed, torch.inf).amin(-1, True)
        highest = scores.masked_fill(~allowed, -torch.inf).amax(-1, True)
        count = allowed.sum(-1, keepdim=True).to(scores.dtype)

    span = (highest - lowest).detach()
    flat = span <= _rounding(tokens, patches, scores.dtype)
    above = scores - lowest
    known = above.detach() / torch.where(flat, 1.0, span)
    if allowed is not None:
        known = known.masked_fill(~allowed, -torch.inf)
    kept = (known >= sigma(known, count)) & ~flat
    # Equation 4 divides by a sum over the same span as equation 2, so that it
    # cancels, and the maximum with it: it decides what is kept and no more.
    above = torch.where(kept, above, 0.0)
    # The division is made safe before it happens: 0/0 in a branch that
    # `where` discards would still put NaN into the gradient.
    weights = above / torch.where(flat, 1.0, above.sum(-1, keepdim=True))
    even = 1 / count
    if allowed is not None:
        even = torch.where(allowed, even, 0.0)
    return torch.where(flat, even, weights)


def dense_alignment(
    tokens: Tensor, patches: Tensor, patch_mask: Tensor | None = None
) -> Tensor:
    """The ablation without sparsity (table 8): equation 3 is left out.

    Args and Returns as in `sparse_alignment`.
    """
    return sparse_alignment(tokens, patches, 0.0, patch_mask)


def softmax_alignment(
    tokens: Tensor, patches: Tensor, patch_mask: Tensor | None = None
) -> Tensor:
    """The ablation with softmax (table 8) in place of equations 2 to 4.

    The scores are taken as they are, without a temperature. Args and Returns
    as in `sparse_alignment`.
    """
    return masked_scores(tokens, patches, patch_mask).softmax(-1)


def group_patches(weights: Tensor, patches: Tensor) -> Tensor:
    """Language-grouped vision embeddings c_l = sum_p a_{l,p} v_p (eq. 5).

    Args:
        weights: (B, L, P) alignment weights.
        patches: (B, P, D) patch embeddings.

    Returns:
        (B, L, D), in the type of the weights; gradients flow to both.
    """
    with torch.autocast(patches.device.type, enabled=False):
        return weights @ patches.to(weights.dtype)


def masked_scores(
    tokens: Tensor, patches: Tensor, patch_mask: Tensor | None = None
) -> Tensor:
    """Inner products, -inf where a token may not look.

    Args and Returns otherwise as in `alignment_scores`.
    """
    scores = alignment_scores(tokens, patches)
    allowed = allowed_patches(patch_mask, scores)
    if allowed is None:
        return scores
    return scores.masked_fill(~allowed, -torch.inf)


def allowed_patches(
    patch_mask: Tensor | None, scores: Tensor
) -> Tensor | None:
    """The patch mask, with rows that allow nothing opened to everything.

    Args:
        patch_mask: (B, L, P) bool, or None.
        scores: (B, L, P), what it is a mask of.

    Raises:
        ValueError: The mask has another shape.
    """
    if patch_mask is None:
        return None
    if patch_mask.shape != scores.shape:
        raise UsageError(
            f'patch_mask must be (B, L, P) = {tuple(scores.shape)}, got '
            f'{tuple(patch_mask.shape)}'
        )
    return patch_mask | ~patch_mask.any(-1, keepdim=True)


def _wide(values: Tensor) -> Tensor:
    """Float32, or float64 where the input already is."""
    return values if values.dtype == torch.float64 else values.float()


def _rounding(tokens: Tensor, patches: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, L, 1) how far scores of one token may differ by rounding alone.

    The error of an inner product goes by the lengths of its vectors, which
    may be much larger than the product.
    """
    longest = _wide(patches.detach()).norm(dim=-1).amax(-1)
    lengths = _wide(tokens.detach()).norm(dim=-1) * longest[:, None]
    return 4 * torch.finfo(dtype).eps * lengths[..., None]
