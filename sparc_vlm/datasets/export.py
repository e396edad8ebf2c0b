"""Drawn scenes as files, in COCO's layout: captions, instances, pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from sparc_vlm.datasets.scenes.source import Scenes
from sparc_vlm.datasets.scenes.vocabulary import COLOURS, SHAPES
from sparc_vlm.errors import UsageError
from sparc_vlm.files import read_written

CATEGORIES = [
    {'id': number, 'name': f'{colour} {shape}', 'supercategory': shape}
    for number, (shape, colour) in enumerate(
        ((shape, colour) for shape in SHAPES for colour in COLOURS), 1
    )
]


def export_scenes(
    scenes: Scenes,
    folder: str | Path,
    done: Callable[[int], None] = lambda pictures: None,
) -> dict[str, int]:
    """Draws a split of the scenes to disk.

    Pictures that are there already are not drawn again.

    Args:
        scenes: What to draw.
        folder: Gets `annotations/{captions,instances}_SPLIT.json` and
            `images_SPLIT/`; classes are pairs of colour and shape.
        done: Called with the number of pictures gone through, now and then.

    Returns:
        Number of pictures, captions, and objects.

    Raises:
        ValueError: The folder holds other scenes of that split.
    """
    folder = Path(folder)
    images = folder / f'images_{scenes.split}'
    images.mkdir(parents=True, exist_ok=True)
    _check_folder(images, scenes)
    ids = {row['name']: row['id'] for row in CATEGORIES}
    pictures, captions, objects = [], [], []
    for index in range(len(scenes)):
        name = f'{index:08d}.png'
        if not (images / name).is_file():
            part = images / f'{name}.part'
            scenes.image(index).save(part, 'PNG')
            os.replace(part, images / name)
        side = {'width': scenes.size, 'height': scenes.size}
        pictures.append({'id': index + 1, 'file_name': name, **side})
        for text in scenes.captions(index):
            captions.append(
                {
                    'id': len(captions) + 1,
                    'image_id': index + 1,
                    'caption': text,
                }
            )
        objects += _objects(scenes, index, len(objects) + 1, ids)
        if index % 100 == 99 or index + 1 == len(scenes):
            done(index % 100 + 1)
    annotations = folder / 'annotations'
    annotations.mkdir(exist_ok=True)
    info = {'description': f'Drawn scenes, seed {scenes.seed}'}
    content = {'info': info, 'images': pictures}
    _write_json(
        annotations / f'captions_{scenes.split}.json',
        {**content, 'annotations': captions},
    )
    _write_json(
        annotations / f'instances_{scenes.split}.json',
        {**content, 'categories': CATEGORIES, 'annotations': objects},
    )
    return {
        'pictures': len(pictures),
        'captions': len(captions),
        'objects': len(objects),
    }


def _check_folder(images: Path, scenes: Scenes) -> None:
    """Notes which scenes a folder holds, or compares them with the note."""
    note = images / 'scenes.json'
    drawn = {'seed': scenes.seed, 'size': scenes.size}
    if not note.is_file():
        _write_json(note, drawn)
    elif read_written(note) != drawn:
        raise UsageError(
            f'{images} holds scenes of another seed or size: draw to an '
            'empty folder'
        )


def _objects(
    scenes: Scenes, index: int, first: int, ids: dict[str, int]
) -> list[dict]:
    rows = []
    boxes, masks = scenes.boxes(index), scenes.masks(index)
    for number, (thing, mask) in enumerate(zip(boxes, masks, strict=True)):
        x1, y1, x2, y2 = thing['box']
        packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        packed['counts'] = packed['counts'].decode('ascii')
        rows.append(
            {
                'id': first + number,
                'image_id': index + 1,
                'category_id': ids[thing['name']],
                'bbox': [x1, y1, x2 - x1, y2 - y1],
                'area': int(mask.sum()),
                'iscrowd': 0,
                'segmentation': packed,
            }
        )
    return rows


def _write_json(path: Path, content: dict) -> None:
    part = path.with_suffix('.part')
    part.write_text(json.dumps(content), encoding='utf-8')
    os.replace(part, path)
