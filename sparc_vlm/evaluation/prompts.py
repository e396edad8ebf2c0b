"""Class names as text embeddings: from one prompt, or from many averaged.

The paper's ensemble is "[prefix]{label}, [suffix]", of which it gives one
suffix, "I like it"; the lists here are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import encode_texts
from sparc_vlm.evaluation.ranking import unit_rows
from sparc_vlm.evaluation.task import Progress

ONE = 'a photo of a {}'

PREFIXES = (
    '',
    'a photo of a ',
    'a picture of a ',
    'an image of the ',
    'a close-up of a ',
    'a drawing of a ',
    'here is a ',
)

SUFFIXES = (
    '',
    'I like it',
    'what a nice picture',
    'seen from nearby',
    'seen from far away',
    'in the background',
    'indoors',
    'outdoors',
)

ENSEMBLE = tuple(
    f'{prefix}{{}}, {suffix}' if suffix else f'{prefix}{{}}'
    for prefix in PREFIXES
    for suffix in SUFFIXES
)
"""Every prefix with every suffix; an empty suffix takes its comma along."""


def prompt_list(prompts: str | Sequence[str]) -> list[str]:
    """The wordings that an option stands for.

    Args:
        prompts: 'one', 'ensemble', a wording of one's own, or several.

    Raises:
        ValueError: A wording has no '{}' for the name, or there is none.
    """
    known = {'one': (ONE,), 'ensemble': ENSEMBLE}
    if isinstance(prompts, str):
        prompts = known.get(prompts, (prompts,))
    wordings = list(dict.fromkeys(prompts))
    bad = [wording for wording in wordings if '{}' not in wording]
    if bad or not wordings:
        raise UsageError(
            "prompts are 'one', 'ensemble', or wordings with '{}' where the "
            f'name goes, not {(bad or [prompts])[0]!r}'
        )
    return wordings


@torch.autocast('cpu', enabled=False)
def class_embeddings(
    model: Any,
    classes: Sequence[str],
    prompts: Sequence[str],
    batch_size: int,
    progress: Progress | None = None,
) -> Tensor:
    """Embeddings of classes, each the mean over the prompts.

    The embedding of each prompt is brought to length 1, then averaged, and
    the mean brought to length 1. One prompt's embeddings are held at a time.

    Args:
        model: Has `encode_text`.
        classes: C names.
        prompts: Wordings, see `prompt_list`.
        batch_size: Texts encoded at a time.
        progress: Told after each chunk.

    Returns:
        (C, D) float32 on the CPU; zeros for a class whose embedding is not
        finite, so that it ties with every other of the kind.
    """
    total = None
    for number, prompt in enumerate(prompts):
        # Not str.format: a wording may have other braces in it.
        texts = [prompt.replace('{}', name) for name in classes]
        told = progress and _part(progress, number, len(prompts))
        rows = encode_texts(model, texts, batch_size, told, 'class names')
        rows = unit_rows(rows)
        total = rows if total is None else total + rows
    return unit_rows(total)


def _part(progress: Progress, number: int, parts: int) -> Progress:
    """One bar for several rounds of the same length."""

    def told(what: str, done: int, total: int) -> None:
        progress(what, number * total + done, parts * total)

    return told
