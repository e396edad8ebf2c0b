"""Pictures with captions as people keep them: a folder, a zip, tar shards.

Drawn scenes, with grain, as JPEGs of the size and weight of photographs.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from sparc_vlm.datasets import CocoCaptions, Scenes
from sparc_vlm.datasets.shards import write_shards

# Makes a JPEG of 480 x 640 weigh about 90 KB; without it, 25.
GRAIN, QUALITY = 6.0, 90
PER_SHARD = 128
CAPTIONS, IMAGES = 'captions_train.json', 'images_train'


def write_photos(
    folder: Path,
    pictures: int,
    size: tuple[int, int],
    seed: int,
    done: Callable[[], None],
) -> None:
    """Draws pictures into a folder, in COCO's layout.

    Args:
        folder: Gets the captions file and a folder of JPEGs.
        pictures: How many.
        size: Height and width in pixels.
        seed: Of scenes and grain.
        done: Called after each picture.
    """
    height, width = size
    scenes = Scenes('train', max(size), pictures, seed)
    left, top = (scenes.size - width) // 2, (scenes.size - height) // 2
    (folder / IMAGES).mkdir(parents=True)
    images, annotations = [], []
    for index in range(pictures):
        picture = scenes.image(index)
        picture = picture.crop((left, top, left + width, top + height))
        rng = np.random.default_rng((seed, index))
        grain = rng.normal(0, GRAIN, (height, width, 1))
        pixels = (np.asarray(picture) + grain).clip(0, 255).astype(np.uint8)
        name = f'{index:08d}.jpg'
        file = folder / IMAGES / name
        Image.fromarray(pixels).save(file, 'JPEG', quality=QUALITY)
        images.append({'id': index, 'file_name': name})
        for text in scenes.captions(index):
            row = {'id': len(annotations), 'image_id': index, 'caption': text}
            annotations.append(row)
        done()
    content = {'images': images, 'annotations': annotations}
    (folder / CAPTIONS).write_text(json.dumps(content))


def pack(folder: Path) -> dict[str, dict]:
    """Packs what `write_photos` wrote as a zip and as shards.

    Args:
        folder: Gets them.

    Returns:
        Name of each layout to the config of its source or loader.
    """
    files = sorted((folder / IMAGES).iterdir())
    packed = folder / f'{IMAGES}.zip'
    with zipfile.ZipFile(packed, 'w') as archive:
        for file in files:
            archive.write(file, file.name)
    captions = folder / CAPTIONS
    source = CocoCaptions(captions, folder / IMAGES)
    write_shards(source, folder / 'shards', PER_SHARD)
    coco = {'type': 'CocoCaptions', 'annotations': str(captions)}
    return {
        'folder': {**coco, 'images': str(folder / IMAGES)},
        'zip': {**coco, 'images': str(packed)},
        'shards': {'type': 'ShardLoader', 'shards': str(folder / 'shards')},
    }
