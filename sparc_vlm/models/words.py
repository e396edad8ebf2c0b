"""Tokens, words and meanings: what the local loss may take for one thing.

Equation 6 takes every other token of a caption for a negative: pieces of the
same word too, the same word said twice, and near synonyms. Beyond the paper,
pieces can be pooled into words before the alignment, and tokens that mean
the same can be left out of the negatives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.models.contrastive import unit

# Odd, so that no power of it is 0 among 64-bit integers.
_BASE = 0x9E3779B97F4A7C15


def pool_words(
    tokens: Tensor, token_mask: Tensor, words: Tensor
) -> tuple[Tensor, Tensor]:
    """Means of the pieces of each word.

    Tokens that belong to no word are left out. W is the number of the last
    word in the batch plus one; a word without a token has a row that is not
    real.

    Args:
        tokens: (B, L, D) token embeddings; padding may hold anything.
        token_mask: (B, L) bool, True on real tokens.
        words: (B, L) int64 number of each token's word within its caption,
            -1 where it belongs to none.

    Returns:
        (B, W, D) word embeddings in float32 or wider, 0 where not real; and
        (B, W) bool, True on real words. They take the places of tokens and
        `token_mask` in alignment and loss.
    """
    wide = tokens if tokens.dtype == torch.float64 else tokens.float()
    wide = torch.where(token_mask[..., None], wide, 0.0)
    counts = _sum_by_word(token_mask.to(wide), token_mask, words)
    sums = _sum_by_word(wide, token_mask, words)
    return sums / counts.clamp(min=1)[..., None], counts > 0


def pool_patch_mask(
    patch_mask: Tensor, token_mask: Tensor, words: Tensor
) -> Tensor:
    """What a word may look at: whatever any of its pieces may.

    Args:
        patch_mask: (B, L, P) bool, the patches that a token may look at.
        token_mask: (B, L) bool, True on real tokens.
        words: (B, L) int64, as in `pool_words`.

    Returns:
        (B, W, P) bool.
    """
    return _sum_by_word(patch_mask.float(), token_mask, words) > 0


def word_ids(token_ids: Tensor, token_mask: Tensor, words: Tensor) -> Tensor:
    """One number for each word, the same for the same pieces in a row.

    It is a 64-bit polynomial of the pieces' ids: two words that differ have
    the same number with a chance of next to nothing.

    Args:
        token_ids: (B, L) int64.
        token_mask: (B, L) bool, True on real tokens.
        words: (B, L) int64, as in `pool_words`.

    Returns:
        (B, W) int64; means nothing where a word is not real.
    """
    length = token_ids.shape[1]
    places = torch.arange(length, device=words.device).expand_as(words)
    inside = token_mask & (words >= 0)
    alike = (words[:, :, None] == words[:, None]) & inside[:, None]
    first = torch.where(alike, places[:, None], length).amin(-1)
    powers = torch.tensor(
        [_signed(pow(_BASE, k, 2**64)) for k in range(length + 1)],
        device=words.device,
    )
    terms = (token_ids + 1) * powers[(places - first).clamp(min=0) + 1]
    return _sum_by_word(terms, token_mask, words)


def same_meaning(
    tokens: Tensor,
    token_mask: Tensor,
    token_ids: Tensor | None = None,
    words: Tensor | None = None,
    limit: float | None = 0.9,
) -> Tensor:
    """Which tokens of a caption are no negatives of each other.

    Two tokens mean the same if they have the same id, belong to the same
    word, or have embeddings whose cosine is above the limit. The embeddings
    are those of the loss itself, in context and without gradient: the ones
    without context are known to the text encoder alone.

    The cosine is not without danger: where all tokens of a caption have
    fallen together, none is a negative any more and nothing in the local
    loss drives them apart. Ids and words have no such trap; with
    `limit=None` they decide alone.

    Args:
        tokens: (B, L, D) token (or word) embeddings; padding may hold
            anything.
        token_mask: (B, L) bool, True on real tokens.
        token_ids: (B, L) int64, or None not to compare ids.
        words: (B, L) int64 number of each token's word, -1 for none, or
            None not to compare words.
        limit: Cosine above which two tokens mean the same, or None not to
            compare embeddings.

    Returns:
        (B, L, L) bool, symmetric, False on the diagonal and wherever a token
        is not real; `ignored` of `contrastive.token_losses`.

    Raises:
        ValueError: A limit that no cosine is above or below, or nothing to
            compare.
    """
    if limit is not None and not -1 < limit < 1:
        raise UsageError(
            f'limit is compared with cosines, -1 < limit < 1, got {limit}'
        )
    if limit is None and token_ids is None and words is None:
        raise UsageError(
            'same_meaning has nothing to compare: give a limit, or a batch '
            'that knows the ids or words of its tokens'
        )
    length = token_mask.shape[1]
    same = torch.zeros(
        *token_mask.shape, length, dtype=torch.bool, device=tokens.device
    )
    if token_ids is not None:
        same = token_ids[:, :, None] == token_ids[:, None]
    if words is not None:
        one_word = words[:, :, None] == words[:, None]
        same = same | (one_word & (words >= 0)[:, None])
    if limit is not None:
        with torch.autocast(tokens.device.type, enabled=False):
            directions = unit(tokens.detach())
            same = same | (directions @ directions.transpose(1, 2) > limit)
    real = token_mask[:, :, None] & token_mask[:, None]
    itself = torch.eye(length, dtype=torch.bool, device=tokens.device)
    return same & real & ~itself


def _sum_by_word(values: Tensor, token_mask: Tensor, words: Tensor) -> Tensor:
    """(B, L, ...) values of tokens added up to (B, W, ...)."""
    batch, length = words.shape
    inside = token_mask & (words >= 0)
    count = max(int(words.amax()) + 1, 1) if length else 1
    # The last place of each caption takes what belongs to no word.
    rows = torch.arange(batch, device=words.device)[:, None] * (count + 1)
    places = (rows + torch.where(inside, words, count)).flatten()
    sums = values.new_zeros(batch * (count + 1), *values.shape[2:])
    sums = sums.index_add(0, places, values.flatten(0, 1))
    return sums.view(batch, count + 1, *values.shape[2:])[:, :count]


def _signed(number: int) -> int:
    """An unsigned 64-bit integer as torch's signed one of the same bits."""
    return number - 2**64 if number >= 2**63 else number
