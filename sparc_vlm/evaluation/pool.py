"""Pictures and captions that compete with each other, encoded.

What retrieval and the measures of what was retrieved start from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import (
    encode_texts,
    has_words,
    image_chunks,
    on_cpu,
)
from sparc_vlm.evaluation.task import Progress, Task


@dataclass(frozen=True)
class Pool:
    """Pictures and captions that are ranked against each other.

    Attributes:
        indices: Number in the source of each of N pictures.
        images: (N, D) their global embeddings, not normalised.
        texts: M captions.
        captions: (M, D) their global embeddings, not normalised.
        owners: Place in `indices` of each caption's picture.
    """

    indices: list[int]
    images: Tensor
    texts: list[str]
    captions: Tensor
    owners: list[int]

    @property
    def own(self) -> dict[int, list[int]]:
        """Places of the captions of each picture that has one, in order."""
        own: dict[int, list[int]] = {}
        for text, owner in enumerate(self.owners):
            own.setdefault(owner, []).append(text)
        return own

    def part(self, wanted: set[int]) -> Pool:
        """The pool of some pictures and their captions alone.

        Args:
            wanted: Their numbers in the source.
        """
        rows = [n for n, index in enumerate(self.indices) if index in wanted]
        place = {row: new for new, row in enumerate(rows)}
        texts = [n for n, owner in enumerate(self.owners) if owner in place]
        return Pool(
            [self.indices[row] for row in rows],
            self.images[rows],
            [self.texts[text] for text in texts],
            self.captions[texts],
            [place[self.owners[text]] for text in texts],
        )


def encode_pool(
    task: Task,
    model: Any,
    captions_per_image: int | None,
    progress: Progress | None = None,
) -> tuple[Pool, dict[str, int]]:
    """Encodes the pictures of a task and their captions.

    Args:
        task: Its pictures are taken; a warning in its name says what was
            left out.
        model: Has `encode_image` and `encode_text`.
        captions_per_image: Takes the first so many captions of a picture;
            None takes all.
        progress: Told after each chunk.

    Returns:
        The pool, and how much was left out or cannot be scored, by reason.

    Raises:
        ValueError: No picture can be read, or none has a caption.
    """
    kept: list[int] = []
    rows: list[Tensor] = []
    broken: dict[int, str] = {}
    for indices, pictures in image_chunks(
        task.source, task.indices, task.batch_size, broken, progress
    ):
        rows.append(on_cpu(model.encode_image(pictures).image))
        kept += indices
    texts: list[str] = []
    owners: list[int] = []
    empty = 0
    for place, index in enumerate(kept):
        own = task.source.captions(index)[:captions_per_image]
        filled = [caption for caption in own if has_words(model, caption)]
        empty += len(own) - len(filled)
        texts += filled
        owners += [place] * len(filled)
    if not texts:
        raise UsageError(
            f'{task.name}: none of the {len(kept)} pictures has a caption'
        )
    images = torch.cat(rows)
    captions = encode_texts(model, texts, task.batch_size, progress)
    skipped = {
        'broken pictures': len(broken),
        'empty captions': empty,
        'pictures without a caption': len(kept) - len(set(owners)),
        'embeddings that are not finite': _count_bad(images)
        + _count_bad(captions),
    }
    pool = Pool(kept, images, texts, captions, owners)
    return pool, task.report_skipped(skipped, broken)


def _count_bad(embeddings: Tensor) -> int:
    """Rows with a value that is not finite."""
    return int((~torch.isfinite(embeddings).all(1)).sum())
