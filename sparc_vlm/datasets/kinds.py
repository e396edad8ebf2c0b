"""Data to measure on, by the task and the kind that a command line names.

`retrieval:karpathy:/data/flickr8k` stands for the config of a reader. A new
reader is one more line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparc_vlm.datasets.source import find_coco, find_karpathy
from sparc_vlm.errors import MissingFileError, UsageError

Reader = Callable[[str, dict[str, Any]], dict[str, Any]]
"""From a path and more arguments to the config of a source."""


def reader(kind: str, path_argument: str = 'root', **defaults: Any) -> Reader:
    """A reader that takes the path as it is.

    Args:
        kind: Its type in DATASETS.
        path_argument: The argument that takes the path; '' for a source
            that reads no file.
        **defaults: Arguments that hold unless others are given.

    Returns:
        What makes its config; raises a MissingFileError where nothing is at
        the path.
    """

    def build(path: str, options: dict[str, Any]) -> dict[str, Any]:
        config = {'type': kind, **defaults}
        if path_argument:
            if not path:
                raise UsageError(f'{kind} needs a path: TASK:KIND:/path')
            if not Path(path).exists():
                raise MissingFileError(f'there is nothing at {path}')
            config[path_argument] = path
        elif path:
            raise UsageError(f'{kind} takes no path, got {path}')
        return {**config, **options}

    return build


def _karpathy(path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Karpathy's test split, or the one that is asked for."""
    return {**find_karpathy(path, options.get('split', 'test')), **options}


def _coco(kind: str) -> Reader:
    """COCO's val split, or the one that is asked for."""

    def build(path: str, options: dict[str, Any]) -> dict[str, Any]:
        options = dict(options)
        split = options.pop('split', 'val')
        return {**find_coco(path, split, kind), **options}

    return build


def _word_order(path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Shuffles of the captions of Karpathy's test split, or another."""
    names = ('seed', 'captions_per_image', 'max_words')
    own = {key: options[key] for key in names if key in options}
    rest = {key: options[key] for key in options if key not in own}
    return {'type': 'WordOrder', 'source': _karpathy(path, rest), **own}


SCENES = reader('Scenes', '', split='test', num_images=1000)
CAPTIONS: dict[str, Reader] = {
    'scenes': SCENES,
    'karpathy': _karpathy,
    'coco': _coco('captions'),
    'csv': reader('CsvCaptions', 'path'),
}

LABELLED: dict[str, Reader] = {
    'folders': reader('ClassFolders'),
    'labels': reader('LabelLists', 'path'),
    'imagenet': reader('ImageNet'),
    'imagenet-v2': reader('ImageNetV2'),
    'imagenet-r': reader('ImageNetFolders'),
    'imagenet-a': reader('ImageNetFolders'),
    'imagenet-sketch': reader('ImageNetFolders'),
    'imagenet-c': reader('ImageNetC'),
    'cifar': reader('Cifar'),
}

SEGMENTED: dict[str, Reader] = {
    'scenes': SCENES,
    'voc': reader('PascalVoc'),
    'context': reader('PascalContext'),
    'coco': _coco('instances'),
    'panoptic': _coco('panoptic'),
}

KINDS: dict[str, dict[str, Reader]] = {
    'classification': LABELLED,
    'retrieval': CAPTIONS,
    'segmentation': SEGMENTED,
    'pointing': {'scenes': SCENES},
    'foils': {
        'scenes': SCENES,
        'sugarcrepe': reader('SugarCrepe'),
        'aro-relation': reader('Aro', part='relation'),
        'aro-attribution': reader('Aro', part='attribution'),
        'aro-order': _word_order,
    },
    'grounding': {
        'flickr30k-entities': reader('FlickrEntities'),
        'entities': reader('EntityLines', 'path'),
    },
    'k_precision': CAPTIONS,
    'captioning': CAPTIONS,
    'pope': {'scenes': SCENES, 'coco': _coco('instances')},
    'attribution': {'scenes': SCENES, 'coco': _coco('instances')},
    'human_judgement': {
        'flickr8k-expert': reader('Flickr8kJudgements', judges='expert'),
        'flickr8k-crowdflower': reader(
            'Flickr8kJudgements', judges='crowdflower'
        ),
    },
}
"""By the task's name in small letters, the readers by their kind."""
