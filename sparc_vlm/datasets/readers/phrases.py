"""What all sources of captions whose phrases have boxes share.

Boxes are shares of the picture's width and height, so that they fit however
large the picture is stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparc_vlm.datasets.readers.listed import Images, ListedPairs
from sparc_vlm.datasets.report import Report, note
from sparc_vlm.datasets.text import PackedStrings
from sparc_vlm.errors import UsageError

Phrase = dict[str, Any]
Box = Sequence[float]
Entry = tuple[str, list[str], list[Phrase]]
"""Name of a picture, its captions, and their phrases that have boxes."""


class PhrasePictures(ListedPairs):
    """Pictures of a store with captions, phrases and boxes.

    Args:
        images: Folder, zip or tar of the pictures, or several.
        entries: Gone through once.
        reading: What was counted while the entries were read.
        where: What they were read from.

    Raises:
        ValueError: No phrase has a box.
    """

    def __init__(
        self,
        images: Images,
        entries: Iterable[Entry],
        reading: Report,
        where: object,
    ) -> None:
        packed: list[str] = []
        found = 0

        def pairs() -> Iterable[tuple[str, list[str]]]:
            nonlocal found
            for name, captions, phrases in entries:
                packed.append(json.dumps(phrases))
                found += len(phrases)
                yield name, captions

        super().__init__(images, pairs(), reading)
        if not found:
            raise UsageError(f'{where}: no phrase has a box')
        self._phrases = PackedStrings(packed)

    def phrases(self, index: int) -> list[Phrase]:
        """The phrases that have a box.

        Phrases for something that cannot be seen, that is not in the
        picture, or that is the whole scene without a box, are left out.

        Args:
            index: Which picture.

        Returns:
            For each phrase `caption`, its place among the captions; `start`
            and `end`, its characters in it; `text`; `types`, such as
            'people'; and `boxes`, one or more of x1, y1, x2, y2 between 0
            and 1.
        """
        return json.loads(self._phrases[index])


def caption_phrase(
    caption: int,
    words: Sequence[str],
    start: int,
    count: int,
    types: Sequence[str],
    boxes: Iterable[Box],
) -> Phrase:
    """A phrase as `PhrasePictures.phrases` returns it.

    Args:
        caption: Place of its caption.
        words: The caption's words; one blank apart they are the caption.
        start: Place of the phrase's first word.
        count: How many it has.
        types: Rough kinds of things.
        boxes: Its boxes.
    """
    text = ' '.join(words[start : start + count])
    first = sum(len(word) + 1 for word in words[:start])
    return {
        'caption': caption,
        'start': first,
        'end': first + len(text),
        'text': text,
        'types': list(types),
        'boxes': [list(box) for box in boxes],
    }


def clean_boxes(
    chains: Mapping[str, Iterable[Any]], where: str, reading: Report
) -> dict[str, list[Box]]:
    """Boxes cut to the picture; those that are none are counted.

    Args:
        chains: From the number of a thing to its boxes.
        where: Where they stand, for the report.
        reading: Counts what is left out.
    """
    cleaned: dict[str, list[Box]] = {}
    for chain, boxes in chains.items():
        for box in boxes:
            try:
                left, top, right, bottom = (
                    min(max(float(value), 0.0), 1.0) for value in box
                )
            except (TypeError, ValueError):
                left = right = top = bottom = 0.0
            if left < right and top < bottom:
                own = cleaned.setdefault(chain, [])
                own.append((left, top, right, bottom))
            else:
                problem = f'{where}: {box} of {chain} is no box'
                note(reading, 'skipped_rows', problem)
    return cleaned
