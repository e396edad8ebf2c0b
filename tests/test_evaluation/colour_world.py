"""A world where the right answer is known: coloured cells and their names.

The model sees the colour of each cell exactly and knows the word for it, so
that every metric can be worked out by hand.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from sparc_vlm.models.alignment import sparse_alignment
from sparc_vlm.structures import ImageEmbeddings, TextEmbeddings

CELL = 8
COLOURS = {
    'ruby': (220, 30, 30),
    'leaf': (30, 200, 30),
    'sea': (30, 30, 220),
    'sun': (230, 220, 40),
}
NOUNS = list(COLOURS)
GREY = (120, 120, 120)


@dataclass
class Board:
    """One picture: a grid of nouns ('' is grey ground) and its captions."""

    cells: list[list[str]]
    captions: list[str]
    broken: bool = False


@dataclass
class Boards:
    """A source of pictures with captions and segments."""

    boards: list[Board]
    cell: int = CELL
    reads: Counter = field(default_factory=Counter)

    def __len__(self):
        return len(self.boards)

    def key(self, index):
        return f'board-{index}'

    def captions(self, index):
        return self.boards[index].captions

    def image(self, index):
        self.reads[index] += 1
        board = self.boards[index]
        if board.broken:
            raise OSError(f'board-{index}.png: cut off in the middle')
        colours = [[COLOURS.get(c, GREY) for c in row] for row in board.cells]
        pixels = np.array(colours, np.uint8)
        pixels = pixels.repeat(self.cell, 0).repeat(self.cell, 1)
        return Image.fromarray(pixels)

    def segments(self, index):
        cells = np.array(self.boards[index].cells)
        names = [noun for noun in NOUNS if (cells == noun).any()]
        labels = np.zeros(cells.shape, int)
        for number, noun in enumerate(names, 1):
            labels[cells == noun] = number
        return labels.repeat(self.cell, 0).repeat(self.cell, 1), names


class PieceTokenizer:
    """Words in pieces of three letters, between a begin and an end mark."""

    def word_spans(self, text):
        return text.split()

    def encode(self, text):
        ids, words = [0], [None]
        for number, word in enumerate(text.split()):
            for at in range(0, len(word), 3):
                ids.append(1 + sum(map(ord, word[at : at + 3])))
                words.append(number)
        return SimpleNamespace(
            ids=[*ids, 0],
            words=[*words, None],
            real=[False, *[True] * (len(ids) - 1), False],
            truncated=False,
        )


class ColourModel:
    """Knows the cells' colours and their nouns, and nothing else.

    Args:
        dense_shift: `dense` names each colour as the noun so many further
            on: 0 is always right, 1 always wrong.
    """

    image_size = None
    align = staticmethod(sparse_alignment)

    def __init__(self, grid=(4, 4), dense_shift=0):
        self.grid = grid
        self.tokenizer = PieceTokenizer()
        self.dense_shift = dense_shift
        self.largest_batch = 0
        self.texts_encoded = 0

    def encode_image(self, images):
        self.largest_batch = max(self.largest_batch, len(images))
        rows, columns = self.grid
        palette = np.array([*COLOURS.values(), GREY], float)
        patches = []
        for image in images:
            small = image.resize((columns, rows), Image.Resampling.BOX)
            pixels = np.asarray(small, float).reshape(-1, 1, 3)
            nearest = np.abs(pixels - palette).sum(-1).argmin(1)
            patches.append(np.eye(5)[nearest][:, :4])
        patches = torch.tensor(np.stack(patches), dtype=torch.float32)
        return ImageEmbeddings(
            patches=patches,
            dense=patches.roll(self.dense_shift, -1),
            image=patches.mean(1) + 1e-3,
            grid=self.grid,
        )

    def encode_text(self, texts):
        self.largest_batch = max(self.largest_batch, len(texts))
        self.texts_encoded += len(texts)
        encoded = [self.tokenizer.encode(text) for text in texts]
        longest = max(len(one.ids) for one in encoded)
        tokens = torch.full((len(texts), longest, 4), 7.0)
        mask = torch.zeros(len(texts), longest, dtype=torch.bool)
        for row, (text, one) in enumerate(zip(texts, encoded, strict=True)):
            words = text.split()
            for at, word in enumerate(one.words):
                if word is not None:
                    name = words[word].strip('.,').removesuffix('s')
                    noun = [float(name == noun) for noun in NOUNS]
                    tokens[row, at] = torch.tensor(noun)
                    mask[row, at] = True
        weights = mask[..., None].float()
        text = (tokens * weights).sum(1) / weights.sum(1)
        return TextEmbeddings(tokens, text + 1e-3, mask)


def some_boards(count=12, size=4, seed=0):
    """Boards with two or three nouns and five captions each."""
    random = np.random.default_rng(seed)
    boards = []
    for _ in range(count):
        nouns = random.permutation(NOUNS)[: random.integers(2, 4)].tolist()
        cells = [[''] * size for _ in range(size)]
        places = random.permutation(size * size)
        for number, noun in enumerate(nouns):
            for place in places[3 * number : 3 * number + 3]:
                cells[place // size][place % size] = noun
        captions = [
            'a ' + ' and a '.join(random.permutation(nouns).tolist()) + '.'
            for _ in range(5)
        ]
        boards.append(Board(cells, captions))
    return Boards(boards)
