"""How well texts fit pictures, a pair at a time: as wholes, and by parts.

The global score is what CLIP compares. The local ones look at the tokens and
patches that the local loss trains, where a gain of it may live unseen by the
global score.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparc_vlm.evaluation.ranking import unit_rows
from sparc_vlm.evaluation.words import Alignment


# Tasks run under autocast while training; bf16 scores would tie at random.
@torch.autocast('cpu', enabled=False)
def global_scores(images: Tensor, texts: Tensor) -> Tensor:
    """Cosine of each picture and its text; 0 where one is not finite.

    Args:
        images: (B, D) global image embeddings.
        texts: (B, D) global text embeddings.

    Returns:
        (B,) scores.
    """
    return (unit_rows(images) * unit_rows(texts)).sum(1)


@torch.autocast('cpu', enabled=False)
def best_patch_scores(tokens: Tensor, mask: Tensor, patches: Tensor) -> Tensor:
    """Mean over a text's tokens of the cosine of each one's nearest patch.

    Args:
        tokens: (B, L, D) token embeddings.
        mask: (B, L) bool, True on real tokens.
        patches: (B, P, D) patches of the local loss.

    Returns:
        (B,) scores.
    """
    cosines = _units(tokens) @ _units(patches).transpose(1, 2)
    return _token_mean(cosines.amax(2), mask)


@torch.autocast('cpu', enabled=False)
def aligned_scores(
    tokens: Tensor, mask: Tensor, patches: Tensor, alignment: Alignment
) -> Tensor:
    """Mean over a text's tokens of the cosine with what each one looks at.

    That is the language-grouped vision embedding of equation 5: the patches,
    averaged by the token's weights.

    Args:
        tokens: (B, L, D) token embeddings.
        mask: (B, L) bool, True on real tokens.
        patches: (B, P, D) patches of the local loss.
        alignment: Weights of the patches for each token.

    Returns:
        (B,) scores.
    """
    grouped = alignment(tokens.float(), patches.float()) @ patches.float()
    cosines = (_units(tokens) * _units(grouped)).sum(2)
    return _token_mean(cosines, mask)


def _units(rows: Tensor) -> Tensor:
    """(B, N, D) rows of length 1, zeros where one is not finite."""
    return unit_rows(rows.flatten(0, 1)).view(rows.shape)


def _token_mean(scores: Tensor, mask: Tensor) -> Tensor:
    """(B,) means of (B, L) scores of real tokens; 0 where there is none."""
    total = torch.where(mask, scores, 0.0).sum(1)
    return total / mask.sum(1).clamp(min=1)
