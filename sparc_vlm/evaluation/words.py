"""What a model attends to for each word of a caption.

A word's pieces are merged into one map. How tokens are aligned with patches
is handed in as a function, since tasks know no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import check_finite, on_cpu

Alignment = Callable[[Tensor, Tensor], Tensor]
"""(B, L, D) tokens and (B, P, D) patches to (B, L, P) weights."""


def own_alignment(alignment: Alignment | None, model: Any) -> Alignment:
    """The alignment asked for, or else the model's own.

    Raises:
        ValueError: Neither is there.
    """
    chosen = alignment or getattr(model, 'align', None)
    if chosen is None:
        raise UsageError(
            f'{type(model).__name__} has no `align` that gives the weights of '
            'the patches for each token: hand one in as alignment=...'
        )
    return chosen


def merge_pieces(weights: Tensor, owners: Sequence[int | None]) -> Tensor:
    """Averages the rows of the tokens that belong to one word.

    Args:
        weights: (L, P), one row a token.
        owners: For each token the number of its word, from 0 to W - 1, None
            on marks.

    Returns:
        (W, P), one row a word.
    """
    tokens = [at for at, word in enumerate(owners) if word is not None]
    words = torch.tensor([w for w in owners if w is not None]).long()
    if not tokens:
        return weights.new_zeros(0, weights.shape[1])
    merged = weights.new_zeros(int(words.max()) + 1, weights.shape[1])
    merged.index_add_(0, words, weights[tokens])
    return merged / words.bincount()[:, None]


@dataclass(frozen=True)
class CaptionWords:
    """A caption's words and the tokens that they are made of.

    Attributes:
        words: The W words that have a token; the last words of a truncated
            caption have none.
        owners: For each of L tokens the place of its word in `words`, None
            on marks.
        tokens: (L, D) token embeddings, marks included.
    """

    words: list[str]
    owners: list[int | None]
    tokens: Tensor

    def align(self, patches: Tensor, alignment: Alignment) -> Tensor:
        """Where each word looks in a picture.

        Args:
            patches: (P, D) patch embeddings of the picture.
            alignment: Weights of the patches for each token.

        Returns:
            (W, P) weights, the mean of those of the word's tokens.
        """
        weights = alignment(self.tokens[None], patches[None])[0]
        return merge_pieces(weights, self.owners)


def encode_words(
    model: Any, captions: Sequence[str], batch_size: int
) -> list[CaptionWords]:
    """Encodes captions and tells their words apart.

    Args:
        model: Has `encode_text` and `tokenizer`.
        captions: None of them empty.
        batch_size: Captions encoded at a time.

    Raises:
        ValueError: The model has no tokenizer that says which word a token
            belongs to, or the two count tokens differently.
    """
    tokenizer = getattr(model, 'tokenizer', None)
    if tokenizer is None:
        raise UsageError(
            f'{type(model).__name__} has no tokenizer, which maps of words '
            'need in order to know the pieces of a word'
        )
    encoded = []
    for start in range(0, len(captions), batch_size):
        chunk = captions[start : start + batch_size]
        embeddings = model.encode_text(list(chunk))
        tokens, masks = on_cpu(embeddings.tokens), embeddings.token_mask.cpu()
        check_finite(tokens[masks], 'tokens', 'maps of words')
        for caption, rows, mask in zip(chunk, tokens, masks, strict=True):
            encoded.append(_caption_words(tokenizer, caption, rows, mask))
    return encoded


def _caption_words(
    tokenizer: Any, caption: str, rows: Tensor, mask: Tensor
) -> CaptionWords:
    """One caption of a padded batch."""
    ids = tokenizer.encode(caption)
    real = [place for place, flag in enumerate(ids.real) if flag]
    if mask.nonzero().flatten().tolist() != real:
        raise UsageError(
            'the model and its tokenizer disagree on the tokens of '
            f'{caption!r}: encode_text must return one row a token, in the '
            "tokenizer's order, begin and end marks included"
        )
    spans = tokenizer.word_spans(caption)
    met = sorted({word for word in ids.words if word is not None})
    place = {word: index for index, word in enumerate(met)}
    return CaptionWords(
        words=[spans[word] for word in met],
        owners=[place.get(word) for word in ids.words],
        tokens=rows[: len(ids.ids)],
    )
