"""Boxes and masks of any file in COCO's layout, its classes with them.

MMDetection's own data set knows the classes of COCO alone and wants pictures
in a folder; the rest of its code reads this one as it reads its own.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from sparc_vlm.detection.archive import PREFIX
from sparc_vlm.engine.config_error import nearest
from sparc_vlm.errors import MissingFileError, UsageError, UserError
from sparc_vlm.registry import DATASETS

NEEDED = {'images': ('height', 'width'), 'annotations': ('bbox',)}
"""What each row of a file must say."""
GREY = 114
"""Colour where there is no picture, as MMDetection pads with."""
UNREADABLE = {
    AssertionError: 'failed to load image',  # MMDetection's own
    cv2.error: 'imdecode',  # an empty file
}
"""What errors say that are of a picture, and may be of something else."""


@DATASETS.register_module()
class CocoBoxes(CocoDataset):
    """Pictures with boxes, and masks where the file has them.

    Classes are those of the file, or some of them, in its order. Pictures
    are in a folder or in a zip or tar file. One that cannot be read is said,
    and replaced: while training by another, while testing by a grey one of its
    size, so that what was on it counts as not found. An object without an
    outline, as crowds may be, is passed over where the pipeline takes masks.

    Args:
        **kwargs: As MMDetection's `CocoDataset`: `ann_file`, `data_root`,
            `data_prefix=dict(img=...)`, `pipeline`, ...; with
            `metainfo=dict(classes=...)` only those classes are read.

    Raises:
        FileNotFoundError: There is no such file, or there are no pictures.
        ValueError: The file lacks a class that was asked for; or where the
            pipeline takes masks, it has none, or has run lengths and the
            pipeline takes polygons only.
    """

    METAINFO: dict[str, Any] = {}

    def COCOAPI(self, path: str) -> COCO:  # noqa: N802 - MMDetection's name
        """Opens the file, and takes its classes if none were asked for."""
        content = COCO(path)
        _complete(content.dataset, path)
        names = [row['name'] for row in content.dataset['categories']]
        asked = self._metainfo.setdefault('classes', tuple(names))
        for name in asked:
            if name not in names:
                raise UsageError(
                    f'{path} has no class {name}{nearest(name, names)}'
                )
        # As labels and MMDetection's metrics have them: in the file's order.
        self._metainfo['classes'] = tuple(n for n in names if n in asked)
        return content

    def load_data_list(self) -> list[dict[str, Any]]:
        """All pictures; run lengths are refused where polygons are wanted."""
        # Not sooner: MMDetection asks for no more than colours where there
        # are no data (lazy_init).
        self._find_files()
        rows = super().load_data_list()
        loaders = [
            own
            for own in self.pipeline.transforms
            if getattr(own, 'with_mask', False)
        ]
        if loaders:
            self._outline([one for row in rows for one in row['instances']])
        wants_polygons = any(not own.poly2mask for own in loaders)
        # Without a word MMDetection would train on none of these.
        if wants_polygons and any(
            isinstance(instance.get('mask'), dict)
            and not instance['ignore_flag']
            for row in rows
            for instance in row['instances']
        ):
            raise UsageError(
                f'{self.ann_file} has masks as run lengths, and the pipeline '
                'takes polygons only: give LoadAnnotations poly2mask=True'
            )
        return rows

    def _outline(self, objects: list[dict[str, Any]]) -> None:
        """Has what is without an outline ignored, within its box."""
        without = [one for one in objects if 'mask' not in one]
        if without and len(without) == len(objects):
            raise UsageError(
                f'{self.ann_file} has boxes only, and the pipeline takes '
                'masks: give each object its segmentation, or train a '
                'detector of boxes'
            )
        count = sum(not one['ignore_flag'] for one in without)
        if count:
            print_log(
                f'{self.ann_file}: {count} of {len(objects)} objects have no '
                'outline and are passed over',
                'current',
                logging.WARNING,
            )
        for one in without:
            one |= dict(mask=corners(*one['bbox']), ignore_flag=1)

    def prepare_data(self, idx: int) -> Any:
        """A picture through the pipeline; None for one to be replaced.

        Args:
            idx: Which picture.
        """
        try:
            return super().prepare_data(idx)
        except (OSError, UserError, AssertionError, cv2.error) as error:
            begins = UNREADABLE.get(type(error))
            if begins is not None and begins not in str(error):
                raise
            row = self.get_data_info(idx)
            instead = 'a grey one' if self.test_mode else 'another'
            print_log(
                f'{row["img_path"]} cannot be read ({error}): '
                f'{instead} takes its place',
                'current',
                logging.WARNING,
            )
            return self._grey(row) if self.test_mode else None

    def _grey(self, row: dict[str, Any]) -> Any:
        """What the pipeline makes of a picture of one colour."""
        shape = row['height'], row['width']
        img = np.full((*shape, 3), GREY, dtype=np.uint8)
        row |= dict(img=img, img_shape=shape, ori_shape=shape)
        for step in self.pipeline.transforms:
            if not isinstance(step, LoadImageFromFile):
                row = step(row)
        return row

    def _find_files(self) -> None:
        """The files must be there; archives get a prefix."""
        place = self.data_prefix.get('img', '')
        for what, path in (('annotations', self.ann_file), ('images', place)):
            if '://' not in path and not Path(path).exists():
                raise MissingFileError(f'no {what} at {path}: nothing there')
        if Path(place).is_file():
            self.data_prefix['img'] = f'{PREFIX}://{place}'


def corners(
    left: float, top: float, right: float, bottom: float
) -> list[list[float]]:
    """A box as an outline in COCO's layout, a polygon."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def _complete(content: dict[str, Any], path: str) -> None:
    """Puts in, in place, what many files leave out and MMDetection asks for.

    Raises:
        UsageError: What is left out cannot be told from the rest.
    """
    for kind, keys in NEEDED.items():
        for row in content[kind]:
            for key in keys:
                if key not in row:
                    one = kind.removesuffix('s')
                    raise UsageError(
                        f'{path}, {one} {row.get("id")}: it has no {key}'
                    )
    for row in content['annotations']:
        _, _, width, height = row['bbox']
        row.setdefault('area', width * height)
        row.setdefault('iscrowd', 0)
