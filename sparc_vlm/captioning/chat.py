"""Conversations about pictures as the ids and labels of a language model."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

IMAGE = -200
"""Stands in `ids` where a picture's tokens go; never embedded."""
IGNORED = -100
"""Stands in `labels` where nothing is learned."""


class ChatBatch(NamedTuple):
    """Conversations, padded to the longest of the batch.

    A named tuple, so that mmengine's preprocessor and torch's pinning move
    its tensors as they move any other.

    Attributes:
        ids: (B, N) int64 token ids, `IMAGE` where the picture's tokens go.
        labels: (B, N) int64, the id at the same place where it is learned,
            `IGNORED` elsewhere.
        mask: (B, N) bool, True on what is no padding. Padding stands on the
            right for training and on the left for generation.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor
