"""What each captioner of a study wrote of the same picture, side by side.

From the samples that the task left, so that no model is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from sparc_vlm.errors import UserError
from sparc_vlm.study.measure import Sheet
from sparc_vlm.study.summary import Sheets
from sparc_vlm.visualization.cells import as_html, as_markdown, as_text
from sparc_vlm.visualization.report import Page

TASK = 'Captioning'
SIDE = 256
"""Pixels that a picture is about as wide as on the page."""


@dataclass(frozen=True)
class CaptionTable:
    """Captions of one picture, with what is not so marked.

    Attributes:
        rows: Who wrote, the caption, and what of it is not so.
    """

    rows: list[tuple[str, str, list[str]]]

    def cells(self, mark: tuple[str, str]) -> list[list[str]]:
        """Heading and rows, what is not so between the marks."""
        shown = [
            [name, marked(caption, invented, mark)]
            for name, caption, invented in self.rows
        ]
        return [['', 'writes'], *shown]

    def text(self) -> str:
        """For a terminal."""
        return as_text(self.cells)

    def markdown(self) -> str:
        """As Markdown."""
        return as_markdown(self.cells, is_text=True)

    def html(self) -> str:
        """As HTML."""
        return as_html(self.cells, is_text=True)


def marked(
    caption: str, invented: Iterable[str], mark: tuple[str, str]
) -> str:
    """A caption in one line with some of its words between marks.

    Args:
        caption: Any text.
        invented: Words of it, in small letters and without punctuation; they
            are marked wherever they stand.
        mark: What goes before and after.
    """
    caption = ' '.join(caption.split())
    forms = [r'\W+'.join(re.findall(r'\w+', words)) for words in invented]
    # The longest first: 'a ring' may be a part of what else is not so.
    found = '|'.join(sorted(filter(None, forms), key=len, reverse=True))
    if not found:
        return caption
    return re.sub(
        rf'\b(?:{found})\b',
        lambda match: match[0].join(mark),
        caption,
        flags=re.IGNORECASE,
    )


def writers(names: Iterable[str], sheets: Sheets) -> list[str]:
    """The arms whose captions were measured.

    Args:
        names: Of arms.
        sheets: What was found.
    """
    return [name for name in names if _captioned(sheets[name])]


def add_captions(
    page: Page,
    source: Any,
    indices: Sequence[int],
    names: Sequence[str],
    sheets: Sheets,
) -> None:
    """Pictures, and below each the caption of every arm at its first seed.

    Args:
        page: Where they are added.
        source: Of the pictures, the one that captions were measured on.
        indices: Which of them.
        names: Of arms that `writers` returned.
        sheets: What was found.
    """
    page.heading('What is written')
    page.text(
        'The caption of each at its first seed; marked is what is not so, '
        'where the data tell. The pictures were not trained on, and were not '
        'chosen by their result.'
    )
    for index in indices:
        try:
            picture = _sized(source.image(index))
            table = _table(source, index, names, sheets)
        except UserError as error:
            page.text(f'Picture {index} is left out: {error}.')
            continue
        if len(table.rows) == 1:
            page.text(f'Picture {index}: no caption of it was measured.')
            continue
        page.figure(picture, f'written-{index}')
        page.table(table)


def _table(
    source: Any, index: int, names: Sequence[str], sheets: Sheets
) -> CaptionTable:
    """What was written of a picture, a reference first."""
    key = source.key(index)
    rows = [('reference', source.captions(index)[0], [])]
    for name in names:
        samples = (
            sample
            for sheet in _captioned(sheets[name])
            for sample in sheet['samples']
            if sample['key'] == key
        )
        sample = next(samples, None)
        if sample is not None:
            told = sample.get('invented', [])
            rows.append((name, sample['caption'], told))
    return CaptionTable(rows)


def _captioned(seeds: dict[int, dict[str, Sheet]]) -> list[Sheet]:
    """Sheets of captions of an arm's first seed."""
    first = next(iter(seeds.values()))
    return [sheet for sheet in first.values() if sheet['type'] == TASK]


def _sized(picture: Image.Image) -> Image.Image:
    """A picture that can be seen, and does not make the page large."""
    times = SIDE // max(picture.size)
    if times > 1:
        # Pixels stay sharp: the model saw no more of them.
        size = picture.width * times, picture.height * times
        return picture.resize(size, Image.Resampling.NEAREST)
    picture = picture.copy()
    picture.thumbnail((SIDE, SIDE))
    return picture
