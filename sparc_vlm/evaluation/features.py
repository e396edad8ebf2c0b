"""Frozen features of labelled pictures, for probes to be fitted to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import image_chunks, on_cpu
from sparc_vlm.evaluation.task import Progress

Features = Literal['image', 'patches']


def pooled(embeddings: Any, features: Features, task: str) -> Tensor:
    """(B, D) features of pictures, float32 on the CPU.

    Args:
        embeddings: What `encode_image` returned.
        features: 'image' is the global image embedding; 'patches' the mean
            over the patches of the local loss.
        task: Whose numbers are at stake.

    Raises:
        ValueError: A value is not finite: nothing can be fitted to it.
    """
    if features == 'image':
        rows = on_cpu(embeddings.image)
    else:
        rows = on_cpu(embeddings.patches).mean(1)
    if not torch.isfinite(rows).all():
        raise UsageError(
            f'{task}: the model gives features that are not finite numbers; '
            'it has diverged'
        )
    return rows


def encode_features(
    model: Any,
    source: Any,
    indices: Sequence[int],
    batch_size: int,
    features: Features,
    broken: dict[int, str],
    progress: Progress | None = None,
    what: str = 'pictures',
) -> tuple[list[int], Tensor]:
    """Features of many pictures.

    Args:
        model: Has `encode_image`.
        source: Where the pictures come from.
        indices: Which ones.
        batch_size: Pictures encoded at a time.
        features: As `pooled`.
        broken: Filled with index -> reason for each that cannot be read.
        progress: Told after each chunk.
        what: What the progress bar, and an error, calls this.

    Returns:
        The indices that could be read, and (N, D) features of these.

    Raises:
        ValueError: Not one picture could be read, or the model gives values
            that are not finite.
    """
    kept: list[int] = []
    rows = torch.empty(0)
    for chunk, pictures in image_chunks(
        source, indices, batch_size, broken, progress, what
    ):
        own = pooled(model.encode_image(pictures), features, what)
        if not kept:
            # Joining a list at the end would need room for all twice.
            rows = torch.empty(len(indices), own.shape[1])
        rows[len(kept) : len(kept) + len(chunk)] = own
        kept += chunk
    return kept, rows[: len(kept)]


def match_classes(
    train: Sequence[str], test: Sequence[str], task: str
) -> Tensor:
    """Place of each class of the test pictures among the training classes.

    Args:
        train: Names of the classes trained on, or their WordNet ids.
        test: Likewise of those to be tested.
        task: Whose they are, for messages.

    Raises:
        ValueError: A class to be tested is not among those trained on, or a
            name that several classes have leaves open which is meant.
    """
    if list(train) == list(test):
        return torch.arange(len(train))
    place = {name: number for number, name in enumerate(train)}
    strange = [name for name in test if name not in place]
    if strange:
        raise UsageError(
            f'{task}: {strange[0]!r} is not among the {len(train)} classes of '
            'the training pictures; take pictures of the same classes'
        )
    count = Counter(train)
    if len(set(test)) < len(test) or any(count[name] > 1 for name in test):
        raise UsageError(
            f'{task}: several classes have the same name, so that those of '
            'the training pictures cannot be matched; take names that differ'
        )
    return torch.tensor([place[name] for name in test])
