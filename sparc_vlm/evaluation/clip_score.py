"""How well captions fit pictures by the cosine of their embeddings.

CLIPScore and RefCLIPScore (Hessel et al. 2021, arXiv 2104.08718) with any
model that has `encode_image` and `encode_text` in CLIP's place. Texts are
encoded as they are: the authors put 'A photo depicts' before each for CLIP, so
that their numbers are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.evaluation.encoding import encode_texts, has_words
from sparc_vlm.evaluation.pair_scores import global_scores
from sparc_vlm.evaluation.ranking import unit_rows

WEIGHT = 2.5


def clip_scores(images: Tensor, texts: Tensor) -> Tensor:
    """2.5 * max(cosine, 0) of each picture and its caption (section 3).

    Args:
        images: (B, D) global image embeddings.
        texts: (B, D) global text embeddings.

    Returns:
        (B,) scores, 0 where an embedding is not finite.
    """
    return WEIGHT * global_scores(images, texts).clamp(min=0)


def reference_scores(
    scores: Tensor, texts: Tensor, references: Sequence[Tensor]
) -> Tensor:
    """RefCLIPScore: harmonic mean with the nearest reference's cosine.

    Args:
        scores: (B,) of `clip_scores`.
        texts: (B, D) global text embeddings of the captions.
        references: For each caption (R, D) embeddings of what people wrote.

    Returns:
        (B,) scores, 0 where either part is.
    """
    nearest = torch.stack(
        [
            (unit_rows(own) @ unit_rows(text[None])[0]).max().clamp(min=0)
            for text, own in zip(texts, references, strict=True)
        ]
    )
    total = (scores + nearest).clamp(min=torch.finfo(scores.dtype).tiny)
    return 2 * scores * nearest / total


def score_pictures(
    model: Any,
    images: Tensor,
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    batch_size: int,
) -> list[dict[str, float]]:
    """Both scores of one caption a picture, times 100.

    Args:
        model: Has `encode_text`.
        images: (B, D) global image embeddings of the pictures.
        captions: Of each picture; one without a word scores 0.
        references: What people wrote of each, one text or more.
        batch_size: Texts that are encoded at a time.

    Returns:
        For each 'clip_score' and 'ref_clip_score'.
    """
    # What stands for an empty caption is scored, and then put to 0.
    real = [has_words(model, caption) for caption in captions]
    texts = [
        caption if is_real else own[0]
        for caption, own, is_real in zip(
            captions, references, real, strict=True
        )
    ]
    flat = [text for own in references for text in own]
    rows = encode_texts(model, [*texts, *flat], batch_size)
    own_rows = rows[: len(texts)]
    known = rows[len(texts) :].split([len(own) for own in references])
    scores = clip_scores(images, own_rows)
    both = reference_scores(scores, own_rows, known)
    return [
        {
            'clip_score': 100 * score * is_real,
            'ref_clip_score': 100 * reference * is_real,
        }
        for score, reference, is_real in zip(
            scores.tolist(), both.tolist(), real, strict=True
        )
    ]
