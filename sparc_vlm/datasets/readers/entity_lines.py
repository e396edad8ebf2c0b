"""Phrases and their boxes as JSON lines, one picture each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparc_vlm.datasets.readers.listed import Images, as_caption
from sparc_vlm.datasets.readers.phrases import (
    Entry,
    PhrasePictures,
    caption_phrase,
    clean_boxes,
)
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.source import find_images
from sparc_vlm.datasets.text import read_text
from sparc_vlm.errors import MissingFileError
from sparc_vlm.registry import DATASETS


@DATASETS.register_module()
class EntityLines(PhrasePictures):
    """Pictures, captions and phrases of a JSON lines file.

    A line has `image`, a file's name; `captions`, each with `text` and
    `phrases` (`start` and `n`, the first word and how many; `text`; `chain`,
    the thing meant; `types`); and `boxes`, from a chain to its boxes, x1, y1,
    x2, y2 between 0 and 1. A chain without boxes is left out.

    Args:
        path: The file.
        images: Folder, zip or tar of the pictures; by default `images_val`
            for `entities_val.jsonl`, or the like, in the file's folder.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: No phrase has a box.
    """

    def __init__(self, path: str | Path, images: Images | None = None) -> None:
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f'no phrases at {path}: no such file')
        reading = new_report()
        split = path.stem.rpartition('_')[2]
        images = images or find_images(path.parent, split)
        entries = _entries(path, reading)
        super().__init__(images, entries, reading, path)


def _entries(path: Path, reading: Report) -> Iterator[Entry]:
    """The pictures of a file; lines that make no sense are counted."""
    for number, line in enumerate(read_text(path, reading).split('\n'), 1):
        where = f'{path}, line {number}'
        if not line.strip():
            continue
        # Whatever a line of another kind makes the lines below raise.
        try:
            entry = _entry(json.loads(line), where, reading)
        except Exception as error:
            note(reading, 'skipped_rows', f'{where}: {error!r}')
            continue
        yield entry


def _entry(row: dict[str, Any], where: str, reading: Report) -> Entry:
    """What a line says of a picture."""
    chains = clean_boxes(row['boxes'], where, reading)
    captions, phrases = [], []
    for place, caption in enumerate(row['captions']):
        captions.append(as_caption(caption['text'], where, reading))
        words = captions[-1].split()
        for part in caption['phrases']:
            if part['chain'] not in chains:
                continue
            boxes = chains[part['chain']]
            span = part['start'], part['n']
            phrase = caption_phrase(place, words, *span, part['types'], boxes)
            if phrase['text'] == part['text']:
                phrases.append(phrase)
            else:
                problem = f'{where}: {part["text"]!r} is not in its place'
                note(reading, 'skipped_rows', problem)
    return str(row['image']), captions, phrases
