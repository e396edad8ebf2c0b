"""A file of boxes in COCO's or LVIS's layout, as the scoring libraries want.

Files of many origins lack this and that; what can be told from the rest is
put in, what cannot be used is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparc_vlm.datasets.readers.files import picture_files, read_json
from sparc_vlm.datasets.readers.listed import Images, StoredPictures
from sparc_vlm.datasets.report import new_report, note
from sparc_vlm.errors import UsageError

NEEDS = 'images annotations categories'


class AnnotatedBoxes(StoredPictures):
    """Pictures with boxes, masks where the file has them.

    Args:
        annotations: A file of COCO (`instances_*.json`) or LVIS, or in their
            layout.
        images: Folder, zip or tar of the pictures.

    Attributes:
        classes: Names, in the order of their ids.
        categories: The file's own rows of them, in that order.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The file is not in that layout, or lists no class.
    """

    def __init__(self, annotations: str | Path, images: Images) -> None:
        reading = new_report()
        content = read_json(annotations, NEEDS, reading)
        for row in content['images']:
            # LVIS has but the end of each picture's address.
            if 'file_name' not in row and 'coco_url' in row:
                row['file_name'] = '/'.join(row['coco_url'].split('/')[-2:])
        files = picture_files(annotations, content, reading)
        self.path = annotations
        self.categories = sorted(
            content['categories'], key=lambda row: row['id']
        )
        self.classes = [row['name'] for row in self.categories]
        if not self.classes:
            raise UsageError(f'{annotations} lists no class')
        self.ids = list(files)
        self._pictures = {row.get('id'): row for row in content['images']}
        self._objects: dict[int, list[dict]] = {name: [] for name in files}
        known = {row['id'] for row in self.categories}
        for row in content['annotations']:
            own = self._objects.get(row.get('image_id'))
            if (
                own is None
                or row.get('category_id') not in known
                or ('bbox' not in row)
            ):
                where = f'{annotations}, annotation {row.get("id")}'
                note(
                    reading, 'skipped_rows', f'{where}: no picture, class, box'
                )
            else:
                own.append(row)
        super().__init__(images, files.values(), reading)

    def captions(self, index: int) -> list[str]:
        """None: only its boxes say what a picture shows."""
        return []

    @property
    def has_masks(self) -> bool:
        """Whether every object has an outline."""
        return all(
            row.get('segmentation')
            for rows in self._objects.values()
            for row in rows
        )

    def truth(self, indices: Sequence[int]) -> dict[str, Any]:
        """The file's content for some of the pictures, made whole.

        Objects get numbers from 1, as the libraries take 0 for nobody, and
        the area of their box where none is written.

        Args:
            indices: Which pictures.
        """
        objects = []
        for index in indices:
            for row in self._objects[self.ids[index]]:
                _, _, width, height = row['bbox']
                crowd = int(row.get('iscrowd', 0))
                given = {'area': width * height, **row}
                number = len(objects) + 1
                objects.append({**given, 'iscrowd': crowd, 'id': number})
        return {
            'images': [self._pictures[self.ids[index]] for index in indices],
            'annotations': objects,
            'categories': self.categories,
        }
