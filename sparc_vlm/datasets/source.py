"""What `--data coco:/path` and the like stand for.

Looks at what is in the folder and says which files were taken; nothing is
read yet but names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sparc_vlm.errors import MissingFileError, UsageError

SPLITS = ('train', 'val')
Found = dict[str, dict | None]


def data_from_flag(flag: str) -> Found:
    """Configs of the data that a command-line flag names.

    Args:
        flag: 'scenes', 'coco:/folder', 'karpathy:/dataset.json',
            'csv:/table.csv', 'folders:/folder', 'labels:/file',
            'llava:/file.json' or 'shards:/path/{000..999}.tar'.

    Returns:
        `train`: config of a `PairSource`, or for shards
        dict(type='ShardLoader', shards=...); `val`: config of a
        `PairSource`, or None where there are no held-out pairs.

    Raises:
        ValueError: An unknown kind, or one without a path.
        FileNotFoundError: What the kind needs is not there; says what was
            looked for, and where.
    """
    kind, _, path = flag.partition(':')
    if kind not in KINDS:
        raise UsageError(
            f'--data {flag}: the kind must be one of {", ".join(KINDS)}, '
            'followed by a colon and a path'
        )
    if kind != 'scenes' and not path:
        raise UsageError(f'--data {flag}: a path must follow, {kind}:/path')
    return KINDS[kind](path)


def _scenes(path: str) -> Found:
    if path:
        raise UsageError('--data scenes takes no path: the scenes are drawn')
    train, val = ({'type': 'Scenes', 'split': split} for split in SPLITS)
    return {'train': train, 'val': val}


def _coco(path: str) -> Found:
    root = _folder(path, 'coco')
    train = _coco_split(root, 'train')
    if train is None:
        raise _no_coco(root, 'train', 'captions')
    return {'train': train, 'val': _coco_split(root, 'val')}


def find_coco(path: str, split: str, kind: str = 'captions') -> dict:
    """Config of a split of a folder in COCO's layout.

    Args:
        path: The folder.
        split: 'train' or 'val', or as it is written in the files' names.
        kind: Of the annotations: 'captions', 'instances' or 'panoptic'.

    Raises:
        FileNotFoundError: There is no folder, or no such annotations of that
            split.
    """
    root = _folder(path, 'coco')
    config = _coco_split(root, split, kind)
    if config is None:
        raise _no_coco(root, split, kind)
    return config


def _no_coco(root: Path, split: str, kind: str) -> MissingFileError:
    return MissingFileError(
        f'no {kind} at {root}: looked for {kind}_{split}*.json in '
        f'{root / "annotations"} and {root}'
    )


def _coco_split(root: Path, split: str, kind: str = 'captions') -> dict | None:
    folders = (root / 'annotations', root)
    annotations = _first(folders, f'{kind}_{split}*.json')
    if annotations is None:
        return None
    # captions_train2017.json goes with train2017 and instances_train2017.
    suffix = annotations.stem.removeprefix(f'{kind}_')
    config = {
        'type': f'Coco{kind.capitalize()}',
        'annotations': str(annotations),
        'images': find_images(root, suffix, split),
    }
    if kind == 'captions':
        instances = annotations.with_name(f'instances_{suffix}.json')
        is_there = instances.is_file()
        config['instances'] = str(instances) if is_there else None
    return config


def _karpathy(path: str) -> Found:
    file = _karpathy_file(path)
    splits = _karpathy_splits(file)
    configs: Found = dict.fromkeys(SPLITS)
    for split in SPLITS:
        if split in splits:
            configs[split] = _karpathy_split(file, split)
    if configs['train'] is None:
        raise _no_split(path, 'train', splits)
    return configs


def find_karpathy(path: str, split: str) -> dict:
    """Config of one of Karpathy's splits.

    Args:
        path: His file, or the folder that it is in.
        split: 'train', 'restval', 'val' or 'test'.

    Raises:
        FileNotFoundError: There is no such file, or no pictures beside it.
        ValueError: The file has no such split.
    """
    file = _karpathy_file(path)
    splits = _karpathy_splits(file)
    if split not in splits:
        raise _no_split(path, split, splits)
    return _karpathy_split(file, split)


def _karpathy_file(path: str) -> Path:
    file = Path(path)
    if file.is_dir():
        found = _first((file,), 'dataset*.json')
        if found is None:
            raise MissingFileError(
                f'no split file at {path}: looked for dataset*.json'
            )
        file = found
    if not file.is_file():
        raise MissingFileError(f'no split file at {path}: no such file')
    return file


def _karpathy_splits(file: Path) -> set[str]:
    text = file.read_text('utf-8', 'replace')
    return set(re.findall(r'"split":\s*"(\w+)"', text))


def _karpathy_split(file: Path, split: str) -> dict:
    return {
        'type': 'KarpathyCaptions',
        'annotations': str(file),
        'images': find_images(file.parent, split),
        'split': split,
    }


def _no_split(path: str, split: str, splits: set[str]) -> UsageError:
    return UsageError(
        f'{path} has no {split} split: looked for "split": "{split}", found '
        f'{", ".join(sorted(splits)) or "none"}'
    )


def _csv(path: str) -> Found:
    return _table(path, 'CsvCaptions', 'path')


def _labels(path: str) -> Found:
    return _table(path, 'LabelLists', 'path')


def _llava(path: str) -> Found:
    found = _table(path, 'LlavaConversations', 'annotations')
    # Pictures are named from the folder on that has those of all data sets.
    for config in filter(None, found.values()):
        config.setdefault('images', str(Path(path).parent))
    return found


def _table(path: str, kind: str, argument: str) -> Found:
    """A file, and the one of the same name with val for train, if any."""
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f'no file at {path}')
    configs: Found = {'train': None, 'val': None}
    val = file.with_name(file.name.replace('train', 'val'))
    for split, table in zip(SPLITS, (file, val), strict=True):
        if split == 'train' or (table != file and table.is_file()):
            config = {'type': kind, argument: str(table)}
            images = _find_images(file.parent, split)
            if images is not None:
                config['images'] = images
            configs[split] = config
    return configs


def _folders(path: str) -> Found:
    root = Path(path)
    if not root.exists():
        raise MissingFileError(f'no class folders at {path}: nothing there')
    if not (root / 'train').is_dir():
        return {'train': {'type': 'ClassFolders', 'root': path}, 'val': None}
    configs: Found = {'train': None, 'val': None}
    for split in SPLITS:
        if (root / split).is_dir():
            split_root = str(root / split)
            configs[split] = {'type': 'ClassFolders', 'root': split_root}
    return configs


def _shards(path: str) -> Found:
    from sparc_vlm.datasets.shards import find_shards

    find_shards(path)
    return {'train': {'type': 'ShardLoader', 'shards': path}, 'val': None}


KINDS: dict[str, Callable[[str], Found]] = {
    'scenes': _scenes,
    'coco': _coco,
    'karpathy': _karpathy,
    'csv': _csv,
    'folders': _folders,
    'labels': _labels,
    'llava': _llava,
    'shards': _shards,
}


def _folder(path: str, kind: str) -> Path:
    root = Path(path)
    if not root.is_dir():
        raise MissingFileError(f'--data {kind}: no folder at {path}')
    return root


def _first(folders: tuple[Path, ...], pattern: str) -> Path | None:
    """The first file that fits, in alphabetical order."""
    found = (file for f in folders for file in sorted(f.glob(pattern)))
    return next(found, None)


def _candidates(root: Path, names: tuple[str, ...]) -> list[Path]:
    """Where the pictures of a split may be, the likeliest first."""
    places = []
    for name in names:
        for stem in (f'images_{name}', f'images/{name}', name):
            places += [root / stem, root / f'{stem}.zip', root / f'{stem}.tar']
    for stem in ('images', 'Images', 'Flicker8k_Dataset', 'flickr30k-images'):
        places += [root / stem, root / f'{stem}.zip', root / f'{stem}.tar']
    return places


def _find_images(root: Path, *names: str) -> str | None:
    """Where the pictures of a split are, None if in no usual place."""
    for place in _candidates(root, names):
        if place.exists():
            return str(place)
    return None


def find_images(root: Path, *names: str) -> str | list[str]:
    """Where the pictures of a split are: several archives if it has no own.

    Args:
        root: The data's folder.
        *names: The split, as the names of files and folders may have it.

    Raises:
        FileNotFoundError: There are no pictures in any usual place.
    """
    found = _find_images(root, *names)
    if found is not None:
        return found
    # Karpathy's COCO lists pictures of train2014 and of val2014.
    pairs = [root / name for name in ('train2014', 'val2014')]
    archives = [str(place) for place in pairs if place.is_dir()]
    archives += sorted(map(str, root.glob('images*.zip')))
    archives += sorted(map(str, root.glob('*2014.zip')))
    if archives:
        return archives
    places = _candidates(root, names)
    raise MissingFileError(
        f'no images in {root}: looked for '
        f'{", ".join(str(place.relative_to(root)) for place in places[:12])}'
        ', images*.zip'
    )
