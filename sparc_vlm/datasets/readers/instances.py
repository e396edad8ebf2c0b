"""The objects of COCO's instances files, and pictures that have these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from sparc_vlm.datasets.readers.files import picture_files, read_json
from sparc_vlm.datasets.readers.listed import Images
from sparc_vlm.datasets.readers.segmented import VOID, SegmentedPictures
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import DATASETS

NEEDS = 'images annotations categories'


class Instances:
    """The objects of an instances file, by index of the picture.

    Args:
        path: The file.
        content: What is in it.
        ids: Of the pictures, in the order of their indices.
        reading: Counts objects without a class or a box.

    Attributes:
        classes: Names of all classes, in the file's order.
    """

    def __init__(
        self,
        path: str | Path,
        content: dict[str, Any],
        ids: list[int],
        reading: Report,
    ) -> None:
        self.path = path
        kinds = content['categories']
        self.classes = [row['name'] for row in kinds]
        self._numbers = {row['id']: n for n, row in enumerate(kinds, 1)}
        sizes = {
            row['id']: (row['height'], row['width'])
            for row in content['images']
            if {'id', 'height', 'width'} <= row.keys()
        }
        self._sizes = [sizes.get(i, (0, 0)) for i in ids]
        self._rows: list[list[dict]] = [[] for _ in ids]
        places = {image: place for place, image in enumerate(ids)}
        for row in content['annotations']:
            place = places.get(row.get('image_id'))
            if row.get('category_id') not in self._numbers or (
                'bbox' not in row
            ):
                where = f'{path}, annotation {row.get("id")}'
                note(reading, 'skipped_rows', f'{where}: no class or box')
            elif place is not None:
                self._rows[place].append(row)

    def boxes(self, index: int) -> list[dict]:
        """Boxes of a picture's objects, crowds left out.

        Args:
            index: Which picture.

        Returns:
            For each object its `name`, and `box`: x1, y1, x2, y2 in pixels.
        """
        found = []
        for row in self._rows[index]:
            if not row.get('iscrowd'):
                x, y, width, height = row['bbox']
                name = self.classes[self._numbers[row['category_id']] - 1]
                box = [x, y, x + width, y + height]
                found.append({'name': name, 'box': box})
        return found

    def crowds(self, index: int) -> list[str]:
        """Names of what a picture shows many of in one outline.

        They are there, though `boxes` leaves them out.

        Args:
            index: Which picture.
        """
        numbers = {
            self._numbers[row['category_id']]
            for row in self._rows[index]
            if row.get('iscrowd')
        }
        return [self.classes[number - 1] for number in sorted(numbers)]

    def labels(self, index: int) -> np.ndarray:
        """Class of each pixel; small objects lie on large ones.

        Args:
            index: Which picture.

        Returns:
            (H, W) int64: 0 = background, k = classes[k - 1]; `VOID` where
            there is nothing but a crowd, whose members nobody has outlined,
            or the box of something without an outline.

        Raises:
            ValueError: All of the picture's objects have boxes only.
        """
        rows = self._rows[index]
        if rows and not any(row.get('segmentation') for row in rows):
            raise UsageError(
                f'{self.path} has boxes but no segmentation of the picture'
            )
        height, width = self._sizes[index]
        labels = np.zeros((height, width), np.int64)
        # What is not known is drawn first, and covered by all that is.
        known = [_is_outlined(row) for row in rows]
        areas = [-row.get('area', 0) for row in rows]
        for at in np.lexsort((areas, known)):
            row = rows[at]
            number = self._numbers[row['category_id']]
            mask = object_mask(row, height, width)
            labels[mask] = number if known[at] else VOID
        return labels


@DATASETS.register_module()
class CocoInstances(SegmentedPictures):
    """Pictures of a COCO instances file, with polygons or run lengths.

    All pictures that the file lists, also those without an object. Where
    captions are wanted as well, `CocoCaptions` has both.

    Args:
        annotations: `instances_*.json`.
        images: Folder, zip or tar of the pictures.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The file is not in COCO's form.
    """

    def __init__(self, annotations: str | Path, images: Images) -> None:
        reading = new_report()
        content = read_json(annotations, NEEDS, reading)
        files = picture_files(annotations, content, reading)
        self._instances = Instances(annotations, content, list(files), reading)
        super().__init__(
            images, files.values(), self._instances.classes, reading
        )

    def boxes(self, index: int) -> list[dict]:
        """Boxes of the objects, see `Instances.boxes`."""
        return self._instances.boxes(index)

    def crowds(self, index: int) -> list[str]:
        """Names of crowds, see `Instances.crowds`."""
        return self._instances.crowds(index)

    def labels(self, index: int) -> np.ndarray:
        """(H, W) classes, see `Instances.labels`."""
        return self._instances.labels(index)


def _is_outlined(row: dict) -> bool:
    """Whether it is known where an object of its own is."""
    return bool(row.get('segmentation')) and not row.get('iscrowd')


def object_mask(row: dict, height: int, width: int) -> np.ndarray:
    """(H, W) bool of polygons, of run lengths, packed or not, or of a box."""
    segmentation = row.get('segmentation')
    if not segmentation:
        x, y, across, down = row['bbox']
        # as a polygon it would lose the pixels that it covers in part
        mask = np.zeros((height, width), bool)
        rows = slice(max(int(y), 0), max(int(np.ceil(y + down)), 0))
        columns = slice(max(int(x), 0), max(int(np.ceil(x + across)), 0))
        mask[rows, columns] = True
        return mask
    if isinstance(segmentation, list):
        parts = coco_mask.frPyObjects(segmentation, height, width)
        packed = coco_mask.merge(parts)
    elif isinstance(segmentation['counts'], list):
        packed = coco_mask.frPyObjects(segmentation, height, width)
    else:
        packed = segmentation
    return coco_mask.decode(packed).astype(bool)
