"""Flickr30k Entities as it is published: sentences, and boxes in XML.

Sentences/ID.txt has a caption a line, with phrases as
[/EN#123/people A young man]; Annotations/ID.xml the boxes of 123, where the
first pixel is 1, or says that it has none; test.txt and so on list the IDs of
a split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from sparc_vlm.datasets.readers.listed import Images
from sparc_vlm.datasets.readers.phrases import (
    Box,
    Entry,
    Phrase,
    PhrasePictures,
    caption_phrase,
    clean_boxes,
)
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.source import find_images
from sparc_vlm.datasets.text import read_text
from sparc_vlm.errors import MissingFileError
from sparc_vlm.registry import DATASETS

FOLDERS = ('Sentences', 'Annotations')
SIDES = ('xmin', 'ymin', 'xmax', 'ymax')
_PHRASE = re.compile(r'\[/EN#(\d+)/(\S+)\s+([^\]]+)\]')


@DATASETS.register_module()
class FlickrEntities(PhrasePictures):
    """Pictures, captions and phrases of a split of Flickr30k Entities.

    Args:
        root: Folder with `Sentences`, `Annotations` and the lists of IDs.
        images: Folder, zip or tar of the pictures, ID.jpg; by default
            `flickr30k-images` or the like in `root`.
        split: 'train', 'val' or 'test', or another list's name.

    Raises:
        FileNotFoundError: A folder or list is not there.
        ValueError: No phrase has a box.
    """

    def __init__(
        self,
        root: str | Path,
        images: Images | None = None,
        split: str = 'test',
    ) -> None:
        root = Path(root)
        needed = [*(root / name for name in FOLDERS), root / f'{split}.txt']
        missing = [path.name for path in needed if not path.exists()]
        if missing:
            raise MissingFileError(
                f'{root} has no {missing[0]}: Flickr30k Entities has the '
                f'folders Sentences and Annotations, and {split}.txt beside'
            )
        reading = new_report()
        ids = read_text(needed[-1], reading).split()
        images = images or find_images(root, split)
        entries = _entries(root, ids, reading)
        super().__init__(images, entries, reading, root)


def _entries(root: Path, ids: list[str], reading: Report) -> Iterator[Entry]:
    """What is said of each picture; one without captions is counted."""
    for number in ids:
        sentences, boxes = (root / name for name in FOLDERS)
        sentences, boxes = sentences / f'{number}.txt', boxes / f'{number}.xml'
        if not sentences.is_file():
            note(reading, 'skipped_rows', f'{sentences}: no such file')
            continue
        text = read_text(sentences, reading)
        chains = clean_boxes(_chains(boxes, reading), str(boxes), reading)
        captions: list[str] = []
        phrases: list[Phrase] = []
        for line in filter(str.strip, text.split('\n')):
            where = f'{sentences}, line {len(captions) + 1}'
            caption, own = _parse(line, len(captions), chains, where, reading)
            captions.append(caption)
            phrases += own
        yield f'{number}.jpg', captions, phrases


def _parse(
    line: str,
    place: int,
    chains: dict[str, list[Box]],
    where: str,
    reading: Report,
) -> tuple[str, list[Phrase]]:
    """A line's caption without its brackets, and the phrases with boxes."""
    words: list[str] = []
    found = []
    end = 0
    for match in _PHRASE.finditer(line):
        words += line[end : match.start()].split()
        chain, types, text = match.groups()
        if chain in chains:
            span = len(words), len(text.split())
            found.append((*span, types.split('/'), chains[chain]))
        words += text.split()
        end = match.end()
    words += line[end:].split()
    if any('[/EN#' in word for word in words):
        note(reading, 'skipped_rows', f'{where}: a phrase is not closed')
        words = [word for word in words if '[/EN#' not in word]
        return ' '.join(words), []
    return ' '.join(words), [
        caption_phrase(place, words, *phrase) for phrase in found
    ]


def _chains(path: Path, reading: Report) -> dict[str, list[Box]]:
    """Boxes of each thing, as shares; those marked as without have none.

    An object may have several names. Pixels are counted from 1, and the last
    one is inside the box.
    """
    chains: dict[str, list[Box]] = {}
    # Whatever a damaged file makes its reader raise.
    try:
        tree = ElementTree.parse(path).getroot()
        width, height = (
            int(tree.findtext(f'size/{side}')) for side in ('width', 'height')
        )
        for thing in tree.iter('object'):
            box = thing.find('bndbox')
            if box is None:
                continue
            left, top, right, bottom = (
                int(box.findtext(side)) for side in SIDES
            )
            share = (
                (left - 1) / width,
                (top - 1) / height,
                right / width,
                bottom / height,
            )
            for name in thing.iter('name'):
                chains.setdefault(str(name.text).strip(), []).append(share)
    except Exception as error:
        note(reading, 'skipped_rows', f'{path}: {error!r}')
    return chains
