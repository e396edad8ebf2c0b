"""CIDEr-D, BLEU, ROUGE-L and METEOR of captions, against what people wrote.

The scores are pycocoevalcap's, on tokens of our own (`caption_tokens`), so
that only METEOR takes Java.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparc_vlm.errors import MissingPackageError, RunError, UsageError
from sparc_vlm.evaluation.caption_tokens import caption_tokens

BLEU_ORDERS = (1, 2, 3, 4)


@dataclass(frozen=True)
class CaptionScores:
    """What captions score.

    Attributes:
        metrics: 'cider', 'bleu_1' to 'bleu_4', 'rouge_l', and 'meteor' where
            Java is; all times 100.
        samples: Of each caption 'cider' and 'rouge_l', whose means are the
            metrics, and 'ngrams', what BLEU is counted from (see
            `bleu_scores`).
        notes: What was not measured, and why.
    """

    metrics: dict[str, float]
    samples: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def score_captions(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    meteor: bool | None = None,
) -> CaptionScores:
    """Scores one caption a picture.

    CIDEr weighs n-grams by how few of the pictures have them in their
    references: its numbers are of these pictures together, and of a single
    picture they are 0.

    Args:
        captions: N texts; an empty one scores 0.
        references: For each, one text or more that people wrote.
        meteor: Whether to measure METEOR; None does where Java is found.

    Raises:
        ValueError: There is no caption, or one without a reference that has
            a word.
        ImportError: pycocoevalcap is not installed.
    """
    if not captions:
        raise UsageError('there are no captions to score')
    ours = {
        number: [' '.join(caption_tokens(caption))]
        for number, caption in enumerate(captions)
    }
    known = {
        number: [text for text in map(_joined, own) if text]
        for number, own in enumerate(references)
    }
    for number in ours:
        if not known.get(number):
            raise UsageError(
                f'caption {number} ({captions[number]!r}) has no reference '
                'with a word in it'
            )
    cider = 100 * np.array(_scorer('cider', 'Cider')(known, ours)[1])
    rouge = 100 * np.array(_scorer('rouge', 'Rouge')(known, ours)[1])
    bleu = _scorer('bleu', 'Bleu')(known, ours, verbose=0)[0]
    metrics = {
        'cider': float(cider.mean()),
        **{f'bleu_{n}': 100 * float(bleu[n - 1]) for n in BLEU_ORDERS},
        'rouge_l': float(rouge.mean()),
    }
    notes = []
    if meteor is None:
        meteor = shutil.which('java') is not None
        if not meteor:
            notes.append('METEOR is not measured: it takes Java')
    if meteor:
        metrics['meteor'] = 100 * _meteor(known, ours)
    samples = [
        {
            'cider': float(cider[number]),
            'rouge_l': float(rouge[number]),
            'ngrams': _ngrams(ours[number][0], known[number]),
        }
        for number in ours
    ]
    return CaptionScores(metrics, samples, notes)


def _joined(text: str) -> str:
    return ' '.join(caption_tokens(text))


def _scorer(module: str, name: str) -> Any:
    """`compute_score` of one of pycocoevalcap's classes."""
    try:
        found = importlib.import_module(f'pycocoevalcap.{module}.{module}')
    except ImportError as error:
        raise MissingPackageError(
            "caption scores need pycocoevalcap: pip install 'sparc_vlm"
            "[captioning]'"
        ) from error
    return getattr(found, name)().compute_score


def _meteor(known: dict[int, list[str]], ours: dict[int, list[str]]) -> float:
    """METEOR, by its authors' Java program."""
    if shutil.which('java') is None:
        raise MissingPackageError(
            'METEOR takes Java: install it, or leave meteor=True out'
        )
    score = _scorer('meteor', 'Meteor')
    try:
        return float(score(known, ours)[0])
    except (OSError, ValueError) as error:  # what it wrote was no number
        raise RunError(
            f"METEOR's Java program ended early ({error}): try it again, or "
            'leave meteor=True out'
        ) from error


def _ngrams(ours: str, known: Sequence[str]) -> dict[str, Any]:
    """What of BLEU adds up over captions."""
    scorer = importlib.import_module('pycocoevalcap.bleu.bleu_scorer')
    most = BLEU_ORDERS[-1]
    lengths, counts = scorer.cook_refs(list(known), n=most)
    cooked = scorer.cook_test(ours, (lengths, counts), 'closest', most)
    return {
        'found': cooked['correct'],
        'said': cooked['guess'],
        'length': cooked['testlen'],
        'reference': cooked['reflen'],
    }
