"""Plain pictures of one colour with labels, beside the coloured boards."""

from __future__ import annotations

import numpy as np
import torch

from sparc_vlm.structures import ImageEmbeddings, TextEmbeddings
from tests.test_evaluation.colour_world import NOUNS, Board, Boards


class Labelled(Boards):
    """Pictures of one noun each, with a label that may be another.

    Args:
        rows: (noun shown, place of the label) of each picture.
        classes: The names of the labels.
        groups: The group of each picture, or None.
    """

    def __init__(self, rows, classes=NOUNS, groups=None):
        super().__init__([Board([[noun] * 2] * 2, []) for noun, _ in rows])
        self.labels = [label for _, label in rows]
        self.classes = list(classes)
        if groups is not None:
            self.group = groups.__getitem__

    def label(self, index):
        return self.labels[index]


class Vectors:
    """A source whose pictures are rows of a matrix, and its model."""

    def __init__(self, rows, labels, classes):
        self.rows = torch.as_tensor(rows, dtype=torch.float32)
        self.labels = list(labels)
        self.classes = list(classes)

    def __len__(self):
        return len(self.rows)

    def key(self, index):
        return str(index)

    def label(self, index):
        return self.labels[index]

    def image(self, index):
        return self.rows[index]


class VectorModel:
    """Hands the rows of `Vectors` back as they are, and given texts.

    Args:
        texts: From text to embedding.
        twice: What `patches` are to be, times the image embedding.
    """

    image_size = None

    def __init__(self, texts=None, twice=1.0):
        self.texts = texts or {}
        self.twice = twice
        self.asked = []
        self.largest_batch = 0

    def encode_image(self, images):
        self.largest_batch = max(self.largest_batch, len(images))
        rows = torch.stack(list(images))
        patches = torch.stack([rows, self.twice * rows], 1)
        return ImageEmbeddings(patches, patches, rows, (1, 2))

    def encode_text(self, texts):
        self.asked += texts
        self.largest_batch = max(self.largest_batch, len(texts))
        rows = torch.tensor(np.array([self.texts[text] for text in texts]))
        rows = rows.float()
        mask = torch.ones(len(texts), 1, dtype=torch.bool)
        return TextEmbeddings(rows[:, None], rows, mask)
