"""COCO captions, with the boxes and segments of an instances file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from sparc_vlm.datasets.readers.files import read_json
from sparc_vlm.datasets.readers.listed import Images, ListedPairs, as_caption
from sparc_vlm.datasets.report import new_report, note
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import DATASETS


@DATASETS.register_module()
class CocoCaptions(ListedPairs):
    """Pictures and captions of a COCO captions file.

    Args:
        annotations: `captions_*.json`.
        images: Folder, zip or tar of the pictures.
        instances: `instances_*.json`, for `boxes` and `segments`.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A file is not in COCO's form.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: Images,
        instances: str | Path | None = None,
    ) -> None:
        reading = new_report()
        content = read_json(annotations, 'images annotations', reading)
        captions: dict[int, list[str]] = {}
        files: dict[int, str] = {}
        for image in content['images']:
            if 'id' in image and isinstance(image.get('file_name'), str):
                files[image['id']] = image['file_name']
                captions[image['id']] = []
            else:
                where = f'{annotations}: {image}'
                note(reading, 'skipped_rows', f'{where}: no id or file_name')
        for row in content['annotations']:
            where = f'{annotations}, annotation {row.get("id")}'
            if row.get('image_id') not in files:
                note(reading, 'skipped_rows', f'{where}: no such image')
                continue
            text = as_caption(row.get('caption'), where, reading)
            captions[row['image_id']].append(text)
        if instances is not None and not Path(instances).is_file():
            raise MissingFileError(f'no instances at {instances}')
        entries = [(files[i], captions[i]) for i in files if captions[i]]
        super().__init__(images, entries, reading)
        self._ids = np.array([i for i in files if captions[i]])
        self._file = instances
        self._loaded: _Instances | None = None

    def boxes(self, index: int) -> list[dict]:
        """Boxes of the objects, crowds left out.

        Args:
            index: Which picture.

        Returns:
            For each object its `name`, and `box`: x1, y1, x2, y2 in pixels.

        Raises:
            ValueError: There is no instances file.
        """
        found = []
        for row in self._rows(index):
            if not row.get('iscrowd'):
                x, y, width, height = row['bbox']
                box = [x, y, x + width, y + height]
                name = self._instances().names[row['category_id']]
                found.append({'name': name, 'box': box})
        return found

    def segments(self, index: int) -> tuple[np.ndarray, list[str]]:
        """Which class each pixel shows; small objects lie on large ones.

        Args:
            index: Which picture.

        Returns:
            (H, W) int64: 0 = background, k = names[k - 1]; and the names.

        Raises:
            ValueError: There is no instances file, or it has boxes only.
        """
        instances = self._instances()
        rows = [row for row in self._rows(index) if row.get('segmentation')]
        if self._rows(index) and not rows:
            raise UsageError(
                f'{self._file} has boxes but no segmentation of '
                f'{self.key(index)}'
            )
        height, width = instances.size(index)
        labels = np.zeros((height, width), np.int64)
        names: list[str] = []
        for row in sorted(rows, key=lambda r: -r.get('area', 0)):
            name = instances.names[row['category_id']]
            if name not in names:
                names.append(name)
            mask = _decode(row['segmentation'], height, width)
            labels[mask] = names.index(name) + 1
        return labels, names

    def _rows(self, index: int) -> list[dict]:
        return self._instances().rows(index)

    def _instances(self) -> _Instances:
        """The objects, read when they are first asked for.

        Training asks for none, and COCO's file takes gigabytes of memory.
        """
        if self._file is None:
            raise UsageError(
                'boxes and segments need an instances file: set '
                'instances=".../instances_*.json"'
            )
        if self._loaded is None:
            ids = self._ids.tolist()
            self._loaded = _Instances(self._file, ids, self.reading)
        return self._loaded


class _Instances:
    """The objects of an instances file, by index of the picture."""

    def __init__(
        self, path: str | Path, ids: list[int], reading: dict
    ) -> None:
        needs = 'images annotations categories'
        content = read_json(path, needs, reading)
        self.names = {row['id']: row['name'] for row in content['categories']}
        sizes = {
            row['id']: (row['height'], row['width'])
            for row in content['images']
        }
        self._sizes = [sizes.get(i, (0, 0)) for i in ids]
        self._rows: list[list[dict]] = [[] for _ in ids]
        places = {image: place for place, image in enumerate(ids)}
        for row in content['annotations']:
            place = places.get(row.get('image_id'))
            if row.get('category_id') not in self.names or 'bbox' not in row:
                where = f'{path}, annotation {row.get("id")}'
                note(reading, 'skipped_rows', f'{where}: no class or box')
            elif place is not None:
                self._rows[place].append(row)

    def rows(self, index: int) -> list[dict]:
        return self._rows[index]

    def size(self, index: int) -> tuple[int, int]:
        return self._sizes[index]


def _decode(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """(H, W) bool of polygons or of run lengths, packed or not."""
    if isinstance(segmentation, list):
        parts = coco_mask.frPyObjects(segmentation, height, width)
        packed = coco_mask.merge(parts)
    elif isinstance(segmentation['counts'], list):
        packed = coco_mask.frPyObjects(segmentation, height, width)
    else:
        packed = segmentation
    return coco_mask.decode(packed).astype(bool)
