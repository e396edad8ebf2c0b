"""Pictures with objects, and a detector that has seen the answers."""

from __future__ import annotations

import json

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from sparc_vlm.detection import Detections

CLASSES = ('ball', 'box', 'cone', 'dog')
SIDE = 200


def outline(box):
    """Run lengths of a box with a corner missing."""
    x, y, width, height = (round(at) for at in box)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[max(y, 0) : y + height, max(x, 0) : x + width] = 1
    mask[max(y, 0) : y + height // 3, max(x, 0) : x + width // 3] = 0
    packed = coco_mask.encode(np.asfortranarray(mask))
    return {'size': packed['size'], 'counts': packed['counts'].decode()}


def made_truth(pictures=8, seed=0, crowds=True):
    """A file's content: objects of all sizes, now and then a crowd."""
    random = np.random.default_rng(seed)
    objects = []
    for image in range(1, pictures + 1):
        for _ in range(random.integers(4)):
            side = random.choice([20, 60, 120])
            x, y = random.uniform(0, SIDE - side, 2)
            box = [float(x), float(y), float(side), float(side * 0.9)]
            objects.append(
                {
                    'id': len(objects) + 1,
                    'image_id': image,
                    'category_id': int(random.integers(1, 5)) * 10,
                    'bbox': box,
                    'area': box[2] * box[3],
                    'iscrowd': int(crowds and random.random() < 0.15),
                    'segmentation': outline(box),
                }
            )
    images = [
        {'id': n, 'file_name': f'{n}.png', 'width': SIDE, 'height': SIDE}
        for n in range(1, pictures + 1)
    ]
    categories = [
        {'id': 10 * n, 'name': name} for n, name in enumerate(CLASSES, 1)
    ]
    return {
        'images': images,
        'annotations': objects,
        'categories': categories,
    }


def write(folder, truth):
    """Writes the file and its pictures, whose first pixel is their number."""
    images = folder / 'images'
    images.mkdir(parents=True, exist_ok=True)
    for row in truth['images']:
        picture = Image.new('RGB', (SIDE, SIDE), (row['id'], 0, 0))
        picture.save(images / row['file_name'])
    path = folder / 'instances.json'
    path.write_text(json.dumps(truth))
    return path, images


class Seer:
    """Finds what is there, more or less, and some of what is not."""

    def __init__(self, truth, seed=0, noise=6.0, words=True, masks=True):
        self.truth, self.noise, self.masks = truth, noise, masks
        self.takes_words = words
        self.classes = () if words else CLASSES[::-1]
        self.random = np.random.default_rng(seed)
        self.asked = []

    def detect(self, images, words=None, limit=100):
        self.asked.append((len(images), words, limit))
        names = self.names(words)
        return [self._look(image, names).best(limit) for image in images]

    def names(self, words=None):
        return words if self.takes_words else self.classes

    def _look(self, image, names):
        random = self.random
        number = image.getpixel((0, 0))[0]
        found = []
        for row in self.truth['annotations']:
            if row['image_id'] == number:
                name = CLASSES[row['category_id'] // 10 - 1]
                for _ in range(2):
                    near = row['bbox'] + random.normal(0, self.noise, 4)
                    found.append((name, near, random.uniform(0.3, 1)))
        for _ in range(6):
            box = [*random.uniform(0, 100, 2), *random.uniform(10, 99, 2)]
            name = str(random.choice(CLASSES))
            found.append((name, np.array(box), random.uniform(0, 0.7)))
        boxes = np.array([box for _, box, _ in found])
        boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:].clip(1)
        return Detections(
            torch.tensor(boxes, dtype=torch.float32),
            torch.tensor([score for *_, score in found]),
            torch.tensor([names.index(name) for name, *_ in found]),
            [outline(box) for _, box, _ in found] if self.masks else None,
        )
