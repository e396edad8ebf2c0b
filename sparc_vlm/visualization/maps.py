"""Alignment heat maps: which part of a picture each word looks at.

The weights are those of equations 2 to 4, one map for each word of the
caption, laid over the picture.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional as F

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import on_cpu, whole_picture
from sparc_vlm.evaluation.words import (
    Alignment,
    encode_words,
    own_alignment,
)
from sparc_vlm.naming import is_function_word

Patches = Literal['patches', 'dense']
FunctionWords = Literal['draw', 'dim', 'omit']
PANEL = 1.35
"""Side of a panel in inches."""


@dataclass(frozen=True)
class WordMaps:
    """What each word of a caption looks at in a picture.

    Attributes:
        image: The picture.
        caption: Its caption.
        words: The W words that have a token.
        weights: (W, rows, columns), each adding up to 1.
    """

    image: Image.Image
    caption: str
    words: list[str]
    weights: np.ndarray

    def only(self, places: Sequence[int]) -> WordMaps:
        """Those of some words, such as the nouns, alone."""
        words = [self.words[place] for place in places]
        return replace(self, words=words, weights=self.weights[list(places)])

    def overlay(self, word: int) -> np.ndarray:
        """The picture with one word's map over it.

        Args:
            word: Which word.

        Returns:
            (H, W, 3) values from 0 to 1: grey where the word does not look,
            bright where it looks most. A word that looks everywhere alike is
            pale all over.
        """
        width, height = self.image.size
        heat = enlarge_map(self.weights[word], (height, width))
        # Full colour takes three times the even weight, so that a map that
        # is spread over everything stays pale.
        even = 1 / self.weights[word].size
        heat = heat / max(heat.max(), 3 * even)
        grey = np.asarray(self.image.convert('L'), float)[..., None] / 255
        # Faded, so that the picture's own contrast never looks like heat.
        ground = np.repeat(0.35 + 0.5 * grey, 3, 2)
        colour = colormaps['inferno'](0.15 + 0.8 * heat)[..., :3]
        cover = 0.9 * heat[..., None] ** 0.75
        return (1 - cover) * ground + cover * colour


def enlarge_map(weights: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A (rows, columns) map at (height, width), bilinear between centres."""
    maps = torch.as_tensor(weights, dtype=torch.float32)[None, None]
    maps = F.interpolate(maps, size, mode='bilinear', align_corners=False)
    return maps[0, 0].numpy()


@torch.no_grad()
def word_maps(
    model: Any,
    image: Image.Image,
    caption: str,
    patches: Patches = 'patches',
    alignment: Alignment | None = None,
) -> WordMaps:
    """Where a model looks for each word of a caption.

    Args:
        model: Has `encode_image`, `encode_text` and `tokenizer`.
        image: A picture; it is seen whole, stretched to the model's shape.
        caption: What the words come from; not empty.
        patches: 'patches' as the local loss sees them, or 'dense', in the
            space of the global text embedding.
        alignment: Weights of the patches for each token; None takes the
            model's own `align`.

    Raises:
        ValueError: Neither is there.
    """
    alignment = own_alignment(alignment, model)
    embeddings = model.encode_image([whole_picture(model, image)])
    seen = on_cpu(getattr(embeddings, patches))[0]
    words = encode_words(model, [caption], 1)[0]
    weights = words.align(seen, alignment)
    shape = (len(words.words), *embeddings.grid)
    return WordMaps(
        image, caption, words.words, weights.reshape(shape).numpy()
    )


def draw_word_maps(
    maps: WordMaps,
    function_words: FunctionWords = 'dim',
    columns: int = 8,
) -> Figure:
    """A picture, then one panel for each word, wrapped into rows.

    Args:
        maps: What to draw.
        function_words: 'draw' shows words such as 'the' and 'of', and
            punctuation, like any other, 'dim' fades them, 'omit' leaves them
            out.
        columns: Panels in a row.
    """
    return compare_word_maps({'': maps}, function_words, columns)


def compare_word_maps(
    models: Mapping[str, WordMaps],
    function_words: FunctionWords = 'dim',
    columns: int = 8,
) -> Figure:
    """The same picture and words, one row of panels a model.

    A caption too long for one row goes on below: the first words of all
    models, then the next words of all models, the picture in front of each.

    Args:
        models: Maps by the model's name; the words of all must be the same.
        function_words: See `draw_word_maps`.
        columns: Panels in a row, the picture's own included.

    Raises:
        ValueError: No model, words that differ, or fewer than two columns.
    """
    if not models or len({tuple(m.words) for m in models.values()}) > 1:
        raise UsageError(
            'maps can be compared where each model has the same words, got '
            + ' | '.join(' '.join(maps.words) for maps in models.values())
        )
    if columns < 2:
        raise UsageError(
            f'a row holds the picture and a word: columns must be at least '
            f'2, got {columns}'
        )
    first = next(iter(models.values()))
    shown = _shown(first.words, function_words)
    bands = max(math.ceil(len(shown) / (columns - 1)), 1)
    per_row = max(math.ceil(len(shown) / bands), 1)
    panels = _Panels(first, bands * len(models), per_row + 1)
    for row in range(bands * len(models)):
        band, number = divmod(row, len(models))
        name, maps = list(models.items())[number]
        panels.add(row, 0, np.asarray(maps.image), name, fontweight='bold')
        words = shown[band * per_row : (band + 1) * per_row]
        for column, word in enumerate(words, 1):
            overlay, title = maps.overlay(word), maps.words[word]
            if function_words == 'dim' and is_function_word(title):
                faded = 0.35 * overlay + 0.65
                panels.add(row, column, faded, title, color='0.6')
            else:
                panels.add(row, column, overlay, title)
    return panels.figure


class _Panels:
    """A figure of titled pictures of one shape in rows and columns.

    Placed by hand: matplotlib's own layouts take seconds for many panels.

    Args:
        maps: Whose caption stands above, and whose picture gives the shape.
        rows: Of panels.
        columns: Of panels.
    """

    def __init__(self, maps: WordMaps, rows: int, columns: int) -> None:
        gap, title = 0.08, 0.24
        self.side = (PANEL, PANEL * maps.image.height / maps.image.width)
        self.step = (self.side[0] + gap, self.side[1] + title)
        across = gap + columns * self.step[0]
        # A line is full at about 12 characters an inch.
        lines = textwrap.wrap(maps.caption, int(12 * across)) or ['']
        above = 0.15 + 0.17 * len(lines)
        self.start = (gap, above + title)
        self.size = (across, above + gap + rows * self.step[1])
        self.figure = Figure(figsize=self.size)
        self.figure.suptitle(
            '\n'.join(lines), fontsize=10, y=1 - 0.05 / self.size[1], va='top'
        )

    def add(
        self,
        row: int,
        column: int,
        picture: np.ndarray,
        title: str,
        **font: Any,
    ) -> None:
        """Puts a picture in its place, its title above."""
        left = self.start[0] + column * self.step[0]
        top = self.start[1] + row * self.step[1]
        (width, height), (across, down) = self.side, self.size
        axes = self.figure.add_axes(
            (
                left / across,
                1 - (top + height) / down,
                width / across,
                height / down,
            )
        )
        axes.imshow(picture, aspect='auto')
        axes.set_axis_off()
        # At 9 points a panel is full at about 13 characters an inch.
        fits = 13 * width / max(len(title), 1)
        size = 9 * min(max(fits, 0.5), 1)
        axes.set_title(title, fontsize=size, pad=3, **font)


def save(figure: Figure, path: str | Path, dpi: int = 110) -> None:
    """Writes a figure, making the folder if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi, facecolor='white')


def as_array(figure: Figure, dpi: int = 110) -> np.ndarray:
    """A figure as (H, W, 3) uint8 RGB, for a log of pictures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _shown(words: Sequence[str], function_words: FunctionWords) -> list[int]:
    """The places of the words that get a panel."""
    if function_words not in ('draw', 'dim', 'omit'):
        raise UsageError(
            "function_words is 'draw', 'dim' or 'omit', not "
            f'{function_words!r}'
        )
    return [
        place
        for place, word in enumerate(words)
        if function_words != 'omit' or not is_function_word(word)
    ]
