"""Boxes with free words: Visual Genome's objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sparc_vlm.datasets.report import Report, note
from sparc_vlm.datasets.text import read_text
from sparc_vlm.detection.words.annotations import PictureBoxes
from sparc_vlm.detection.words.vocabulary import as_word
from sparc_vlm.errors import MissingFileError, UsageError


def read_visual_genome(
    objects: str | Path, image_data: str | Path, reading: Report
) -> tuple[list[dict[str, Any]], list[PictureBoxes]]:
    """Reads objects.json and image_data.json.

    An object goes by its first name; its others are `incomplete`, so that
    nobody takes them for absent.

    Args:
        objects: For each picture its objects, with names and boxes.
        image_data: For each picture its size and address.
        reading: Counts rows that cannot be used.

    Returns:
        As `read_coco`; every different name is a category.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file is not in Visual Genome's form.
    """
    pictures = {}
    for row in _rows(image_data, 'image_id', reading):
        # Both of its folders may be in one place, or in two.
        name = '/'.join(row.get('url', '').split('/')[-2:])
        pictures[row['image_id']] = PictureBoxes(
            name or f'{row["image_id"]}.jpg',
            row['image_id'],
            row.get('height', 0),
            row.get('width', 0),
        )
    places: dict[str, int] = {}
    for row in _rows(objects, 'objects', reading):
        picture = pictures.get(row.get('image_id'))
        for thing in row['objects']:
            names = [as_word(name) for name in thing.get('names', ())]
            labels = [
                places.setdefault(name, len(places)) for name in names if name
            ]
            where = f'{objects}, object {thing.get("object_id")}'
            if picture is None or not labels or not {*'xywh'} <= thing.keys():
                note(reading, 'skipped_rows', f'{where}: no picture or name')
                continue
            picture.incomplete.update(labels[1:])
            if not picture.add([thing[key] for key in 'xywh'], labels[0]):
                picture.incomplete.add(labels[0])
                note(reading, 'skipped_rows', f'{where}: an empty box')
    categories = [{'id': n, 'name': name} for name, n in places.items()]
    return categories, list(pictures.values())


def _rows(
    path: str | Path, needs: str, reading: Report
) -> list[dict[str, Any]]:
    if not Path(path).is_file():
        raise MissingFileError(f'no annotations at {path}: no such file')
    try:
        rows = json.loads(read_text(path, reading), strict=False)
    except json.JSONDecodeError as error:
        raise UsageError(f'{path} is not JSON: {error}') from error
    if not isinstance(rows, list) or any(needs not in row for row in rows):
        raise UsageError(
            f'{path} is not of Visual Genome: expected a list whose rows '
            f'have {needs!r}'
        )
    return rows
