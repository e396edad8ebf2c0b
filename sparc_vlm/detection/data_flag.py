"""What `--data coco:/folder` means to a config of a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from sparc_vlm.datasets.readers.files import read_json
from sparc_vlm.datasets.report import new_report
from sparc_vlm.datasets.source import find_coco
from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.errors import MissingFileError

READERS = ('CocoDataset', 'CocoBoxes', 'WordBoxes')
"""Data sets that can be given other files."""
AROUND = ('ClassBalancedDataset', 'MultiImageMixDataset', 'RepeatDataset')
"""What hands on pictures of the data set inside of it."""
MEASURED = ('id', 'bbox', 'area', 'iscrowd')
"""What pycocotools wants to know of each object."""


def use_boxes(
    cfg: Config, flags: list[str], held_out_flag: str | None = None
) -> list[str]:
    """Has a detector train on a folder in COCO's layout.

    Data sets, evaluators and the number of classes of every head follow.

    Args:
        cfg: The config of a detector; changed in place.
        flags: 'coco:/folder', one at the most.
        held_out_flag: The same for validation, whose val split is taken, or
            its train split where there is none.

    Returns:
        Lines that say what is read from where.

    Raises:
        ConfigError: Several flags, another kind of data, nothing to validate
            on, other classes there, or a config whose data are read in
            another way.
        FileNotFoundError: There is no instances file, or no pictures.
    """
    if len(flags) > 1:
        raise ConfigError('a detector trains on one --data: name one folder')
    lines, names = [], None
    if flags:
        train = find_coco(_folder(flags[0]), 'train', 'instances')
        names = _classes(train['annotations'])
        _point(cfg.train_dataloader.dataset, train)
        _set_classes(cfg.model, len(names))
        lines += [
            f'training data: {train["annotations"]}',
            f'classes: {len(names)}',
        ]
    held_out = _held_out(
        _folder(held_out_flag or flags[0]), held_out_flag is not None
    )
    path = held_out['annotations']
    content = read_json(path, 'images annotations categories', new_report())
    _check_classes(cfg.train_dataloader.dataset, names, content, path)
    _check_objects(content, path)
    _validate(cfg, held_out)
    return [*lines, f'held-out data: {held_out["annotations"]}']


def _folder(flag: str) -> str:
    kind, _, path = flag.partition(':')
    if kind != 'coco' or not path:
        raise ConfigError(
            f'--data {flag}: a detector takes coco:/folder, with '
            'annotations/instances_{train,val}*.json in it'
        )
    return path


def _held_out(folder: str, named: bool) -> dict[str, Any]:
    try:
        return find_coco(folder, 'val', 'instances')
    except MissingFileError as error:
        if named:
            return find_coco(folder, 'train', 'instances')
        raise ConfigError(
            f'{error}: name pictures to validate on with --val-data'
        ) from None


def _classes(annotations: str | Path) -> list[str]:
    return _names(read_json(annotations, 'categories', new_report()))


def _names(content: dict[str, Any]) -> list[str]:
    return [row['name'] for row in content['categories']]


def innermost(dataset: dict[str, Any]) -> dict[str, Any]:
    """The data set that reads the files, inside of what hands it on.

    Args:
        dataset: Config of a data set of MMDetection.
    """
    while _kind(dataset) in AROUND:
        dataset = dataset['dataset']
    return dataset


def _kind(dataset: dict[str, Any]) -> str:
    return str(dataset.get('type')).split('.')[-1]


def _check_classes(
    dataset: dict[str, Any],
    names: list[str] | None,
    content: dict[str, Any],
    held_out: str,
) -> None:
    """Labels are places in a file's classes, also to whoever validates.

    Args:
        dataset: What is trained on.
        names: Its classes, None where its file was not read yet.
        content: Of the file to validate on.
        held_out: Its name.
    """
    dataset = innermost(dataset)
    if _kind(dataset) not in ('CocoDataset', 'CocoBoxes'):
        return  # by words, which may be others there
    train = Path(dataset.get('data_root') or '', dataset.get('ann_file', ''))
    if names is None and not train.is_file():
        return  # check_config says so
    names = _classes(train) if names is None else names
    asked = (dataset.get('metainfo') or {}).get('classes')

    def taken(names: list[str]) -> list[str]:
        return [name for name in names if asked is None or name in asked]

    if taken(names) != taken(_names(content)):
        raise ConfigError(
            f'{held_out} has other classes than {train}, or has them in '
            'another order: give both the same categories'
        )


def _check_objects(content: dict[str, Any], annotations: str) -> None:
    """What is missed while measuring would be missed after training."""
    for row in content['annotations']:
        for key in MEASURED:
            if key not in row:
                raise ConfigError(
                    f'{annotations}, annotation {row.get("id")}: it has no '
                    f'{key}, which pycocotools needs to measure'
                )


def _point(dataset: dict[str, Any], found: dict[str, Any]) -> None:
    """Has a data set read what was found."""
    dataset = innermost(dataset)
    kind = _kind(dataset)
    if kind not in READERS:
        raise ConfigError(
            f'--data: {dataset.get("type")} is told what to read in the '
            f'config, and only {", ".join(READERS)} by --data'
        )
    if kind == 'WordBoxes':
        dataset.update(found, type='sparc_vlm.WordBoxes')
        return
    if not isinstance(found['images'], str):
        raise ConfigError(
            f'--data: the pictures of {found["annotations"]} are in several '
            'places, so put them into one folder or zip'
        )
    dataset.update(
        type='sparc_vlm.CocoBoxes',
        data_root='',
        ann_file=found['annotations'],
        data_prefix=dict(img=found['images']),
    )


def _set_classes(node: Any, count: int) -> None:
    """Tells every head of a model how many classes there are."""
    if isinstance(node, dict):
        if 'num_classes' in node:
            node['num_classes'] = count
        for inner in node.values():
            _set_classes(inner, count)
    elif isinstance(node, (list, tuple)):
        for inner in node:
            _set_classes(inner, count)


def _validate(cfg: Config, found: dict[str, Any]) -> None:
    """Has validation and tests read what was found."""
    for split in ('val', 'test'):
        if not cfg.get(f'{split}_dataloader'):
            continue
        _point(cfg[f'{split}_dataloader'].dataset, found)
        evaluators = cfg[f'{split}_evaluator']
        if not isinstance(evaluators, list):
            evaluators = [evaluators]
        for evaluator in evaluators:
            if 'ann_file' in evaluator:
                evaluator['ann_file'] = found['annotations']
