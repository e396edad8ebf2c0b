"""Small data sets on disk, and a source that can be told to misbehave."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from sparc_vlm.datasets import BrokenImage, CaptionTokenizer, PairSource

WORDS = 'red green blue round square dog cat ball tree house'.split()


def picture(number: int, size: int = 24) -> Image.Image:
    rng = np.random.default_rng(number)
    values = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((size, size))


def encoded(number: int, kind: str = 'PNG', size: int = 24) -> bytes:
    buffer = io.BytesIO()
    picture(number, size).save(buffer, kind)
    return buffer.getvalue()


def caption(number: int) -> str:
    return f'a {WORDS[number % 10]} {WORDS[number // 10 % 10]} on a mat'


def tokenizer() -> CaptionTokenizer:
    texts = [caption(number) for number in range(100)]
    return CaptionTokenizer.train(texts, max_length=12)


def write_images(path: Path, names: list[str]) -> Path:
    """Pictures in a folder, a .zip or a .tar, by the path's ending."""
    files = {name: encoded(place) for place, name in enumerate(names)}
    if path.suffix == '.zip':
        with zipfile.ZipFile(path, 'w') as archive:
            for place, (name, data) in enumerate(files.items()):
                packed = zipfile.ZIP_DEFLATED if place % 2 else None
                archive.writestr(name, data, packed)
    elif path.suffix == '.tar':
        with tarfile.open(path, 'w') as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    else:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    return path


def write_coco(root: Path, count: int = 4, split: str = 'train') -> Path:
    """A COCO folder: captions, instances with polygons and RLE, images."""
    annotations = root / 'annotations'
    annotations.mkdir(parents=True, exist_ok=True)
    images = [
        {'id': 10 + i, 'file_name': f'{i}.png', 'width': 24, 'height': 24}
        for i in range(count)
    ]
    captions = [
        {'id': 2 * i + k, 'image_id': 10 + i, 'caption': caption(i + 50 * k)}
        for i in range(count)
        for k in range(2)
    ]
    square = [2, 2, 12, 2, 12, 12, 2, 12]
    runs = {'size': [24, 24], 'counts': [0, 24 * 24]}
    common = {'image_id': 10, 'iscrowd': 0}
    objects = [
        {'id': 1, 'category_id': 7, 'bbox': [2, 2, 10, 10], 'area': 100}
        | {'segmentation': [square], **common},
        {'id': 2, 'category_id': 3, 'bbox': [0, 0, 24, 24], 'area': 576}
        | {'segmentation': runs, **common},
    ]
    classes = [{'id': 3, 'name': 'grass'}, {'id': 7, 'name': 'dog'}]
    (annotations / f'captions_{split}.json').write_text(
        json.dumps({'images': images, 'annotations': captions})
    )
    (annotations / f'instances_{split}.json').write_text(
        json.dumps(
            {'images': images, 'annotations': objects, 'categories': classes}
        )
    )
    write_images(
        root / f'images_{split}.zip', [f'{i}.png' for i in range(count)]
    )
    return root


def write_karpathy(root: Path, folder: str | None = None) -> Path:
    """A split file with a picture for each of four splits."""
    splits = ['train', 'restval', 'val', 'test']
    images = [
        {
            'filename': f'{i}.png',
            'split': split,
            'sentences': [{'raw': caption(i)}, {'raw': caption(i + 50)}],
        }
        for i, split in enumerate(splits)
    ]
    if folder:
        images = [{**image, 'filepath': folder} for image in images]
    (root / 'dataset_made.json').write_text(json.dumps({'images': images}))
    write_images(root / 'images', [f'{i}.png' for i in range(4)])
    return root / 'dataset_made.json'


def write_csv(path: Path, rows: list[list[str]], separator: str) -> Path:
    with path.open('w', newline='', encoding='utf-8') as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    return path


class ListSource(PairSource):
    """Pictures in memory; some broken, some with odd captions.

    Args:
        count: Number of pictures.
        broken: Which cannot be read.
        texts: Captions of some, instead of one good one.
    """

    def __init__(self, count=20, broken=(), texts=None):
        super().__init__()
        self.count = count
        self.broken = set(broken)
        self.texts = texts or {}
        self.read = []

    def __len__(self):
        return self.count

    def key(self, index):
        return f'{index}.png'

    def captions(self, index):
        return self.texts.get(index, [caption(index)])

    def image(self, index, at_least=None):
        self.read.append(index)
        if index in self.broken:
            raise BrokenImage(self.key(index), 'made so')
        return picture(index)
