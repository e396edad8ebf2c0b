"""A tiny detector by words, and drawn data in the official layouts."""

from __future__ import annotations

import json

import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from PIL import Image, ImageDraw

import sparc_vlm.detection  # noqa: F401 (registers the detector)
from sparc_vlm.datasets import CaptionTokenizer
from tests.test_models.tiny_models import model_cfg

COLOURS = ('red', 'blue', 'green', 'black')
CATEGORIES = [
    dict(id=3, name='Red_Box', supercategory='warm', frequency='f'),
    dict(id=5, name='blue box', supercategory='cold', frequency='c'),
    dict(id=9, name='green box', supercategory='cold', frequency='r'),
    dict(id=11, name='black box', supercategory='dark', frequency='c'),
]
WORDS = ('red box', 'blue box', 'green box', 'black box')
LOAD = [
    dict(type='LoadImageFromNDArray'),
    dict(type='LoadAnnotations', with_bbox=True),
]


def tokenizer(folder):
    """A tokenizer of a few words, saved; its folder."""
    place = folder / 'tokenizer'
    texts = [f'a photo of a {word} and a dog' for word in WORDS]
    CaptionTokenizer.train(texts, 60, 9).save(place)
    return place


def detector_cfg(tokens, **changes):
    """Config of a tiny detector whose tokenizer is saved in a folder."""
    encoders = model_cfg(
        tokenizer=dict(type='CaptionTokenizer', path=str(tokens))
    )
    return dict(type='sparc_vlm.WordDetector', encoders=encoders) | changes


def build(cfg, seed=0):
    """A detector whose weights are all random, those of its heads too."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg)
    for parameter in model.parameters():
        if parameter.ndim:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def dataset(**cfg):
    """A `WordBoxes` whose pipeline loads boxes, or another."""
    cfg = dict(type='sparc_vlm.WordBoxes', pipeline=LOAD) | cfg
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(cfg)


def sample(words, boxes=(), labels=(), shape=(32, 32), **meta):
    """What a picture is asked for and what is in it."""
    instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
    )
    meta = dict(img_shape=shape, ori_shape=shape, words=tuple(words)) | meta
    return DetDataSample(gt_instances=instances, metainfo=meta)


def draw(path, colours, size=(64, 48)):
    """A picture of a box of each colour; their x, y, width and height."""
    picture = Image.new('RGB', size, 'white')
    boxes = [[4 + 15 * n, 6 + 3 * n, 10, 14] for n in range(len(colours))]
    for (x, y, width, height), colour in zip(boxes, colours, strict=True):
        ImageDraw.Draw(picture).rectangle(
            (x, y, x + width - 1, y + height - 1), fill=colour
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return boxes


def write_coco(annotations, images, count=4, name='{:012d}.png', **more):
    """Pictures in a folder and a file in COCO's layout; what is in it.

    Picture n has boxes of the first n + 1 colours, modulo 4; more goes into
    each picture's row.
    """
    content = dict(images=[], annotations=[], categories=CATEGORIES)
    for number in range(count):
        file = name.format(number)
        colours = COLOURS[: number % 4 + 1]
        boxes = draw(images / file, colours)
        content['images'].append(
            dict(id=number + 1, file_name=file, width=64, height=48) | more
        )
        for box, kind in zip(boxes, CATEGORIES, strict=False):
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=number + 1,
                    category_id=kind['id'],
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=0,
                )
            )
    write_json(annotations, content)
    return content


def write_visual_genome(folder, count=3):
    """objects.json, image_data.json, and pictures in VG_100K."""
    objects, pictures = [], []
    for number in range(1, count + 1):
        boxes = draw(folder / 'VG_100K' / f'{number}.jpg', COLOURS[:2])
        url = f'https://there.org/rak248/VG_100K/{number}.jpg'
        pictures.append(
            dict(image_id=number, url=url, width=64, height=48, coco_id=None)
        )
        things = [
            dict(zip('xywh', box, strict=True))
            | dict(object_id=10 * number + n, names=names, synsets=[])
            for n, (box, names) in enumerate(
                zip(boxes, (['red Box ', 'thing'], ['cup']), strict=True)
            )
        ]
        objects.append(dict(image_id=number, objects=things, image_url=url))
    write_json(folder / 'objects.json', objects)
    write_json(folder / 'image_data.json', pictures)


def write_json(path, content):
    """Writes a file, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding='utf-8')
