"""Boxes with words, of COCO's layout and its kin (LVIS, Objects365)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparc_vlm.datasets.readers.files import read_json
from sparc_vlm.datasets.report import Report, note

NEEDS = 'images annotations categories'


@dataclass
class PictureBoxes:
    """What is known of one picture.

    Attributes:
        file: Its name.
        id: What annotations call it.
        height: In pixels, or 0 if that is not written.
        width: Likewise.
        boxes: x1, y1, x2, y2 in pixels.
        labels: For each box the place of its class.
        absent: Classes that somebody has looked for in vain.
        incomplete: Classes of which it shows more than there are boxes.
    """

    file: str
    id: int
    height: int = 0
    width: int = 0
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    absent: set[int] = field(default_factory=set)
    incomplete: set[int] = field(default_factory=set)

    def add(self, box: Iterable[float], label: int) -> bool:
        """Adds a box, cut to the picture; False if nothing is left of it.

        Args:
            box: x, y, width and height in pixels.
            label: The place of its class.
        """
        x, y, width, height = box
        right, bottom = x + width, y + height
        if self.width and self.height:
            right, bottom = min(right, self.width), min(bottom, self.height)
        x, y = max(x, 0), max(y, 0)
        if right <= x or bottom <= y:
            return False
        self.boxes.append((x, y, right, bottom))
        self.labels.append(label)
        return True


def read_coco(
    path: str | Path, reading: Report
) -> tuple[list[dict[str, Any]], list[PictureBoxes]]:
    """Reads a file in COCO's layout.

    LVIS's `neg_category_ids` become `absent`. Crowds and LVIS's
    `not_exhaustive_category_ids` become `incomplete`; a crowd has no box of
    its own.

    Args:
        path: The file.
        reading: Counts rows that cannot be used.

    Returns:
        The categories, and the pictures, also those without a box.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not in COCO's layout.
    """
    content = read_json(path, NEEDS, reading)
    categories = content['categories']
    places = {row['id']: place for place, row in enumerate(categories)}
    pictures = {}
    for row in content['images']:
        name = _file_name(row)
        if name is None or 'id' not in row:
            note(reading, 'skipped_rows', f'{path}: {row}: no id or name')
            continue
        pictures[row['id']] = PictureBoxes(
            name, row['id'], row.get('height', 0), row.get('width', 0)
        )
        for key, classes in (
            ('neg_category_ids', pictures[row['id']].absent),
            ('not_exhaustive_category_ids', pictures[row['id']].incomplete),
        ):
            classes.update(places[i] for i in row.get(key, ()) if i in places)
    for row in content['annotations']:
        picture = pictures.get(row.get('image_id'))
        label = places.get(row.get('category_id'))
        if picture is None or label is None or 'bbox' not in row:
            why = 'no picture, class or box'
        elif row.get('iscrowd'):
            picture.incomplete.add(label)
            continue
        elif picture.add(row['bbox'], label):
            continue
        else:
            why = f'an empty box {row["bbox"]}'
        where = f'{path}, annotation {row.get("id")}'
        note(reading, 'skipped_rows', f'{where}: {why}')
    return categories, list(pictures.values())


def _file_name(row: dict[str, Any]) -> str | None:
    """Name of a picture's file; LVIS has but the end of its address."""
    if 'file_name' in row:
        return row['file_name']
    address = row.get('coco_url')
    return '/'.join(address.split('/')[-2:]) if address else None
