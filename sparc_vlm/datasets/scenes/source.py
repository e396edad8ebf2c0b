"""Drawn scenes as a source of image-text pairs."""

from __future__ import annotations

from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image

from sparc_vlm.datasets.pairs import PairSource
from sparc_vlm.datasets.scenes.captions import STYLES, Caption, write_captions
from sparc_vlm.datasets.scenes.draw import draw
from sparc_vlm.datasets.scenes.faults import Faults, find_faults
from sparc_vlm.datasets.scenes.foils import write_foils
from sparc_vlm.datasets.scenes.layout import Scene, lay_out
from sparc_vlm.datasets.scenes.questions import write_questions
from sparc_vlm.datasets.scenes.vocabulary import COLOURS, SHAPES
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import DATASETS

SPLITS = {'train': 100_000, 'val': 1000, 'test': 1000}

# Captions are written so many times more, that most kinds of foil find one.
FOIL_ROUNDS = 3


@DATASETS.register_module()
class Scenes(PairSource):
    """Captioned pictures of shapes, drawn on demand.

    Everything is a function of (split, seed, index): no files, the same in
    every process and on every machine. Splits draw from streams of their
    own, so that no scene of one is planned into another.

    Args:
        split: 'train', 'val' or 'test'.
        size: Side of the pictures in pixels.
        num_images: How many there are; by default 100000 for training and
            1000 otherwise.
        seed: Another seed gives other scenes.
        style: Of the captions, 'mixed' or 'full', see `write_captions`.

    Raises:
        ValueError: An unknown split or style, or a size below 16 pixels.
    """

    def __init__(
        self,
        split: str = 'train',
        size: int = 64,
        num_images: int | None = None,
        seed: int = 0,
        style: str = 'mixed',
    ) -> None:
        super().__init__()
        for what, value, known in (
            ('split', split, SPLITS),
            ('style', style, STYLES),
        ):
            if value not in known:
                raise UsageError(
                    f'{what} must be one of {", ".join(known)}, got {value!r}'
                )
        if size < 16:
            raise UsageError(f'scenes need 16 pixels or more, got {size}')
        if num_images is not None and num_images < 1:
            raise UsageError(
                f'num_images must be at least 1, got {num_images}'
            )
        self.split = split
        self.size = size
        self.num_images = num_images or SPLITS[split]
        self.seed = seed
        self.style = style

    def __len__(self) -> int:
        """Number of scenes."""
        return self.num_images

    def key(self, index: int) -> str:
        """A name that says how the scene is drawn again."""
        return f'scene-{self.split}-{self.seed}-{self._check(index)}'

    def scene(self, index: int) -> Scene:
        """What is in the picture: its objects, background and overlaps."""
        return _scene(self.key(index))

    def captions(self, index: int) -> list[str]:
        """Five captions, all true."""
        return [caption.text for caption in self.claims(index)]

    def claims(self, index: int) -> list[Caption]:
        """The five captions in a form that can be checked and altered."""
        rng = Random(f'{self.key(index)}-captions')
        return write_captions(self.scene(index), rng, self.style)

    def foils(self, index: int) -> list[dict[str, str]]:
        """True captions with false ones that differ in one thing.

        Returns:
            At most one of each kind in `ALTERATIONS`: its `kind`, a true
            `caption`, drawn as those of `captions` are, and its `foil`.
        """
        scene, rng = self.scene(index), Random(f'{self.key(index)}-foils')
        captions = self.claims(index)
        for _ in range(FOIL_ROUNDS):
            captions += write_captions(scene, rng)
        return [
            {
                'kind': foil.kind,
                'caption': foil.caption.text,
                'foil': foil.foil.text,
            }
            for foil in write_foils(scene, captions, rng)
        ]

    def questions(self, index: int) -> list[dict[str, str]]:
        """Questions with exactly one right answer each.

        Returns:
            For each its `kind` (one of `questions.KINDS`), `question` and
            `answer`.
        """
        rng = Random(f'{self.key(index)}-questions')
        return [
            {'kind': q.kind, 'question': q.text, 'answer': q.answer}
            for q in write_questions(self.scene(index), rng)
        ]

    def faults(self, index: int, text: str) -> Faults:
        """What a sentence says of the scene that is not so."""
        return find_faults(self.scene(index), text)

    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """The picture, `size` pixels wide and high."""
        return Image.fromarray(self._drawn(index)[0])

    def segments(self, index: int) -> tuple[np.ndarray, list[str]]:
        """Which object each pixel shows, objects of one name together.

        Returns:
            (size, size) int64: 0 = background, k = names[k - 1]; and the
            names, such as 'red circle', without repeats.
        """
        things = self.scene(index).objects
        names = list(dict.fromkeys(thing.name for thing in things))
        table = [0, *(names.index(thing.name) + 1 for thing in things)]
        return np.array(table)[self._drawn(index)[1]], names

    @property
    def classes(self) -> list[str]:
        """All names that a segment may have: every colour, every shape."""
        return [f'{colour} {shape}' for colour in COLOURS for shape in SHAPES]

    def masks(self, index: int) -> np.ndarray:
        """(number of objects, size, size) bool, where each is seen."""
        count = len(self.scene(index).objects)
        return self._drawn(index)[1] == np.arange(1, count + 1)[:, None, None]

    def boxes(self, index: int) -> list[dict]:
        """Boxes around what is seen of each object.

        Returns:
            For each object `name`, `box` (x1, y1, x2, y2 in pixels, the far
            edges outside), and its `shape`, `colour`, `texture`, `size`.
        """
        boxes = []
        things = self.scene(index).objects
        for thing, mask in zip(things, self.masks(index), strict=True):
            rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
            box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            boxes.append(
                {
                    'name': thing.name,
                    'box': [float(value) for value in box],
                    'shape': thing.shape,
                    'colour': thing.colour,
                    'texture': thing.texture,
                    'size': thing.size,
                }
            )
        return boxes

    def _drawn(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return _drawing(self.key(index), self.size)

    def _check(self, index: int) -> int:
        if not 0 <= index < self.num_images:
            raise IndexError(
                f'scene {index} asked for, there are {self.num_images}'
            )
        return int(index)


# The one asked for last is kept: its captions, pixels and masks are asked for
# one after the other.
@lru_cache(maxsize=2)
def _scene(key: str) -> Scene:
    return lay_out(Random(f'{key}-layout'))


@lru_cache(maxsize=2)
def _drawing(key: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = draw(_scene(key), size)
    pixels.flags.writeable = labels.flags.writeable = False
    return pixels, labels
