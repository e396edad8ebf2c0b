"""A part of a data set in COCO's layout, its pictures made smaller.

The small recipes on photographs need a few thousand small pictures, in a
folder that can be copied and kept, not all of COCO.
"""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from sparc_vlm.datasets.images import BrokenImage
from sparc_vlm.datasets.readers.files import picture_files, read_json
from sparc_vlm.datasets.readers.instances import object_mask
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.source import find_coco
from sparc_vlm.datasets.store import ImageStore
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.files import atomic_file, read_written, write_text

NEEDS = 'images annotations'
QUALITY = 90
"""Of JPEG."""


@dataclass(frozen=True)
class CocoPart:
    """Which pictures, and how large.

    Attributes:
        split: Of the whole, as the names of its files have it.
        num_images: How many pictures.
        skip: Pictures passed over first, in the order that the seed gives, so
            that two parts of a split share none.
        longer_side: In pixels; smaller pictures stay as they are.
        seed: Decides which pictures.
    """

    split: str
    num_images: int
    skip: int = 0
    longer_side: int = 320
    seed: int = 0

    def choose(self, ids: list[int]) -> list[int]:
        """The pictures of the part, in the order of their numbers.

        Args:
            ids: Of all pictures.

        Raises:
            ValueError: There are too few, or `skip` is below 0.
        """
        if self.skip < 0:
            raise UsageError(f'skip must be at least 0, got {self.skip}')
        order = sorted(ids)
        random.Random(self.seed).shuffle(order)
        chosen = order[self.skip : self.skip + self.num_images]
        if len(chosen) < self.num_images:
            raise UsageError(
                f'{self.split} has {len(ids)} pictures: too few for '
                f'{self.num_images} after {self.skip}'
            )
        return sorted(chosen)


def write_coco_part(
    folder: str | Path,
    out: str | Path,
    name: str,
    part: CocoPart,
    done: Callable[[int], None] = lambda pictures: None,
) -> Report:
    """Writes some pictures of a split, with their boxes and captions.

    Boxes, outlines and areas shrink with the pictures. What is there already
    is not written again.

    Args:
        folder: The whole, in COCO's layout.
        out: Gets `annotations/{instances,captions}_NAME.json`, the captions
            where there are any, and `images_NAME.zip`.
        name: Of the split that is written.
        part: What to take.
        done: Called with a number of pictures gone through, now and then.

    Returns:
        Counts of pictures, objects and captions; pictures that cannot be
        read are left out and counted.

    Raises:
        FileNotFoundError: There are no instances or no pictures.
        ValueError: Too few pictures, or another part of that name is there.
    """
    out = Path(out)
    found = _sources(str(folder), part.split)
    made_of = {'part': asdict(part), 'of': str(Path(folder).resolve())}
    files = {kind: out / f'annotations/{kind}_{name}.json' for kind in found}
    report = new_report()
    if not _is_there(files['instances'], made_of):
        # Of all of COCO these are large: read only if something is to do.
        whole = {
            kind: read_json(source['annotations'], NEEDS, report)
            for kind, source in found.items()
        }
        instances = found['instances']
        names = picture_files(
            instances['annotations'], whole['instances'], report
        )
        sizes = _write_pictures(
            ImageStore(instances['images']),
            {number: names[number] for number in part.choose(list(names))},
            part.longer_side,
            out / f'images_{name}.zip',
            report,
            done,
        )
        # Instances last: a part whose instances are there is whole.
        for kind in reversed(found):
            rows = _cut(whole[kind], sizes, made_of)
            write_text(files[kind], json.dumps(rows))
    counts = {'pictures': 0, 'objects': 0, 'captions': 0}
    for kind, path in files.items():
        written = read_written(path)
        counts['pictures'] = len(written['images'])
        rows = 'objects' if kind == 'instances' else 'captions'
        counts[rows] = len(written['annotations'])
    return {**counts, **{key: value for key, value in report.items() if value}}


def _sources(folder: str, split: str) -> dict[str, dict[str, Any]]:
    """Where a split is, instances first; captions may be missing."""
    found = {'instances': find_coco(folder, split, 'instances')}
    with suppress(MissingFileError):
        found['captions'] = find_coco(folder, split, 'captions')
    return found


def _is_there(path: Path, made_of: dict[str, Any]) -> bool:
    """Whether an earlier run has written this part, by what it noted."""
    if not path.is_file():
        return False
    info = read_written(path).get('info', {})
    if {key: info.get(key) for key in made_of} != made_of:
        raise UsageError(
            f'{path} holds other pictures than those asked for: write to '
            'another folder'
        )
    return True


def _write_pictures(
    store: ImageStore,
    names: dict[int, str],
    longer_side: int,
    path: Path,
    report: Report,
    done: Callable[[int], None],
) -> dict[int, tuple[int, int]]:
    """Writes the archive; returns the size of each picture in it."""
    sizes = {}
    with (
        atomic_file(path) as file,
        zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as archive,
    ):
        for number, name in names.items():
            try:
                image = store.image(name)
            except BrokenImage as error:
                note(report, 'broken_images', str(error))
            else:
                image.thumbnail((longer_side, longer_side), Image.LANCZOS)
                archive.writestr(name, _encoded(image, name))
                sizes[number] = image.size
            done(1)
    return sizes


def _encoded(image: Image.Image, name: str) -> bytes:
    """A picture in the format that its name ends in, JPEG as a rule."""
    buffer = BytesIO()
    is_png = name.lower().endswith('.png')
    image.save(buffer, 'PNG' if is_png else 'JPEG', quality=QUALITY)
    return buffer.getvalue()


def _cut(
    content: dict[str, Any],
    sizes: dict[int, tuple[int, int]],
    made_of: dict[str, Any],
) -> dict[str, Any]:
    """Annotations of the pictures that were written, in their size."""
    images, before = [], {}
    for row in content['images']:
        if row.get('id') in sizes:
            width, height = sizes[row['id']]
            before[row['id']] = (
                row.get('width', width),
                row.get('height', height),
            )
            images.append({**row, 'width': width, 'height': height})
    rows = [
        _resized(row, before[row['image_id']], sizes[row['image_id']])
        for row in content['annotations']
        if row.get('image_id') in before
    ]
    return {
        **content,
        'info': {**content.get('info', {}), **made_of},
        'images': images,
        'annotations': rows,
    }


def _resized(
    row: dict[str, Any], before: tuple[int, int], after: tuple[int, int]
) -> dict[str, Any]:
    """An annotation of a picture that has another size now."""
    across, down = (new / old for new, old in zip(after, before, strict=True))
    row = dict(row)
    if 'bbox' in row:
        scales = (across, down, across, down)
        row['bbox'] = [
            round(value * scale, 2)
            for value, scale in zip(row['bbox'], scales, strict=True)
        ]
    if 'area' in row:
        row['area'] = round(row['area'] * across * down, 2)
    outline = row.get('segmentation')
    if isinstance(outline, list):
        row['segmentation'] = [
            [
                round(value * (down if place % 2 else across), 2)
                for place, value in enumerate(polygon)
            ]
            for polygon in outline
        ]
    elif outline:
        mask = Image.fromarray(object_mask(row, before[1], before[0]))
        small = np.asarray(mask.resize(after, Image.NEAREST), np.uint8)
        packed = coco_mask.encode(np.asfortranarray(small))
        row['segmentation'] = {
            'size': packed['size'],
            'counts': packed['counts'].decode('ascii'),
        }
    return row
