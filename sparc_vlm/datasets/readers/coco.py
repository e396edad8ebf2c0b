"""COCO captions, with the boxes and segments of an instances file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sparc_vlm.datasets.readers.files import picture_files, read_json
from sparc_vlm.datasets.readers.instances import NEEDS, Instances
from sparc_vlm.datasets.readers.listed import Images, ListedPairs, as_caption
from sparc_vlm.datasets.readers.segmented import name_shown
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
        files = picture_files(annotations, content, reading)
        captions: dict[int, list[str]] = {i: [] for i in files}
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
        self._loaded: Instances | None = None

    def boxes(self, index: int) -> list[dict]:
        """Boxes of the objects, crowds left out.

        Args:
            index: Which picture.

        Returns:
            For each object its `name`, and `box`: x1, y1, x2, y2 in pixels.

        Raises:
            ValueError: There is no instances file.
        """
        return self._instances().boxes(index)

    def crowds(self, index: int) -> list[str]:
        """Names of what `boxes` leaves out, see `Instances.crowds`.

        Args:
            index: Which picture.

        Raises:
            ValueError: There is no instances file.
        """
        return self._instances().crowds(index)

    def segments(self, index: int) -> tuple[np.ndarray, list[str]]:
        """Which class each pixel shows; small objects lie on large ones.

        Args:
            index: Which picture.

        Returns:
            (H, W) int64: 0 = background, k = names[k - 1], -1 where there is
            nothing but a crowd; and the names.

        Raises:
            ValueError: There is no instances file, or it has boxes only.
        """
        instances = self._instances()
        return name_shown(instances.labels(index), instances.classes)

    @property
    def classes(self) -> list[str]:
        """Names of all classes of objects; none without an instances file."""
        return [] if self._file is None else self._instances().classes

    def _instances(self) -> Instances:
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
            content = read_json(self._file, NEEDS, self.reading)
            self._loaded = Instances(self._file, content, ids, self.reading)
        return self._loaded
