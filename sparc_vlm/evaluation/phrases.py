"""What a model's patches say to a phrase: a weight each, in several ways.

By the tokens of the phrase, read in its caption, and by the embedding of the
phrase alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.evaluation.encoding import encode_texts
from sparc_vlm.evaluation.words import Alignment, encode_words

Phrase = dict[str, Any]
Maps = dict[str, Tensor]


def tells_words(model: Any) -> bool:
    """Whether a model says which word of a text each token belongs to."""
    tokenizer = getattr(model, 'tokenizer', None)
    needed = ('encode', 'word_spans')
    return all(callable(getattr(tokenizer, name, None)) for name in needed)


@torch.autocast('cpu', enabled=False)
def cosine_alignment(tokens: Tensor, patches: Tensor) -> Tensor:
    """(B, L, P) cosines of tokens (B, L, D) and patches (B, P, D).

    For a model that aligns in no way of its own.
    """
    tokens, patches = (F.normalize(v, dim=-1) for v in (tokens, patches))
    return tokens @ patches.transpose(1, 2)


def phrase_tokens(
    tokenizer: Any, caption: str, start: int, end: int
) -> list[int]:
    """Places of the tokens that a part of a caption is made of.

    Args:
        tokenizer: Its `encode` says which word each token belongs to, its
            `word_spans` which words there are.
        caption: The caption.
        start: First character of the part.
        end: The one after its last.

    Returns:
        In order, marks left out; none where the tokenizer has cut the part
        off, or reads a text of other words than the caption has. A word that
        is partly in the part is in it.
    """
    # It may read small letters alone, or a text that it has mended.
    meant, at, text = set(), 0, caption.lower()
    for number, word in enumerate(tokenizer.word_spans(caption)):
        found = text.find(word.lower(), at)
        if found < 0 or text[at:found].strip():
            return []
        at = found + len(word)
        if found < end and at > start:
            meant.add(number)
    owners = tokenizer.encode(caption).words
    return [place for place, owner in enumerate(owners) if owner in meant]


def phrase_maps(
    model: Any,
    captions: Sequence[Sequence[str]],
    phrases: Sequence[Sequence[Phrase]],
    patches: Tensor,
    dense: Tensor,
    alignment: Alignment | None,
    batch_size: int,
) -> list[list[Maps]]:
    """Heat maps of the phrases of B pictures, not enlarged.

    Args:
        model: Has `encode_text`, and, where there is an alignment, a
            tokenizer.
        captions: Of each picture.
        phrases: Of each picture, with `caption`, `start`, `end`, `text`.
        patches: (B, P, D) patches of the local loss.
        dense: (B, P, D) patches in the space of the global text.
        alignment: Weights of the patches for each token; None where the
            model does not tell which tokens a phrase has.
        batch_size: Texts encoded at a time.

    Returns:
        For each phrase (P,) weights of '_text', the cosine of its own
        embedding with `dense`; and with an alignment of '', the mean over its
        tokens, and of '_last', its last token alone. Nothing where the
        tokenizer has cut the phrase off.
    """
    texts = [phrase['text'] for own in phrases for phrase in own]
    if not texts:
        return [[] for _ in phrases]
    rows = iter(encode_texts(model, texts, batch_size))
    maps: list[list[Maps]] = []
    for asked, own in zip(phrases, dense, strict=True):
        alone = (next(rows)[None, None] for _ in asked)
        cosines = (cosine_alignment(text, own[None]) for text in alone)
        maps.append([{'_text': weights[0, 0]} for weights in cosines])
    if alignment is None:
        return maps
    # each caption once, with what is asked of it
    read: dict[str, list[tuple[int, int]]] = {}
    for place, asked in enumerate(phrases):
        for number, phrase in enumerate(asked):
            text = captions[place][phrase['caption']]
            read.setdefault(text, []).append((place, number))
    for text, encoded in zip(
        read, encode_words(model, list(read), batch_size), strict=True
    ):
        weights: dict[int, Tensor] = {}
        for place, number in read[text]:
            if place not in weights:
                weights[place] = alignment(
                    encoded.tokens[None], patches[place][None]
                )[0]
            phrase = phrases[place][number]
            span = phrase['start'], phrase['end']
            tokens = phrase_tokens(model.tokenizer, text, *span)
            own = weights[place][tokens]
            if tokens:
                maps[place][number].update({'': own.mean(0), '_last': own[-1]})
            else:
                maps[place][number].clear()
    return maps
