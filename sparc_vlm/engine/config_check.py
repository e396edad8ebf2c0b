"""Says what is wrong with a config before any data are read.

mmengine takes any key and any name, and fails on it when the object is built
or, if nothing reads it, not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any

from mmengine.config import Config

from sparc_vlm.engine.config_error import ConfigError, nearest
from sparc_vlm.engine.config_fit import check_fit
from sparc_vlm.engine.config_overrides import (
    check_overrides,
    check_untyped,
    with_tests,
)
from sparc_vlm.engine.config_types import (
    registries_at,
    resolve,
    typed_dicts,
)
from sparc_vlm.engine.signatures import arguments
from sparc_vlm.engine.strategy_check import check_strategy
from sparc_vlm.registry import DATASETS
from sparc_vlm.weights.wheels import WHEEL

FILE_KEYS = ('checkpoint', 'load_from', 'image_root')
"""Keys whose value is a file or folder that must be there to be read."""
DATA_KEYS = ('annotations', 'images', 'instances', 'names', 'path', 'root')
"""Likewise, of the classes that read data."""
HINT = ': put the data there, or name others with --data'
OWN = ('sparc_vlm', 'mmengine')
"""Packages whose classes build what stands inside of them as it stands."""
AS_IT_STANDS = (
    *('backbone', 'data_preprocessor', 'neck'),
    *('bbox_head', 'mask_head', 'roi_head', 'rpn_head'),
    *('dataset', 'datasets', 'pipeline', 'transforms'),
)
"""Keys whose dict OpenMMLab's classes build without taking anything out."""
NEEDED = ('train_dataloader', 'train_cfg', 'optim_wrapper')
"""Fields that training needs, all of them."""
FORMATS = ('.py', '.json', '.yaml', '.yml')
"""How the name of a config may end."""
_PARSING = RLock()
"""Held while a config is read. Python 3.11 counts how deep it is in a syntax
tree for all threads together, and may end one of two that parse at once with
a SystemError (python/cpython#106905)."""


def find_config(path: str | Path) -> Path:
    """The file of a config.

    Args:
        path: What the user named.

    Raises:
        ConfigError: There is none; the nearest name in its folder is said.
    """
    path = Path(path)
    if path.is_file():
        return path
    folder = path.parent
    if not folder.is_dir():
        raise ConfigError(f'there is no folder {folder} to read {path} from')
    if path.is_dir():
        known = [other.name for other in path.glob('*.py')]
        said = f'{path} is a folder, and a config is a file'
        raise ConfigError(said + nearest(path.name, known))
    for other in (path, 'configs' / path):
        if other.with_suffix('.py').is_file():
            other = other.with_suffix('.py')
            raise ConfigError(
                f'there is no config {path}; did you mean {other}?'
            )
    known = [other.name for other in folder.glob('*.py')]
    raise ConfigError(f'there is no config {path}' + nearest(path.name, known))


def load_config(
    path: str | Path, options: dict[str, Any] | None = None
) -> Config:
    """Reads a config and applies checked overrides.

    Args:
        path: The config's file.
        options: Dotted keys and values, as `--cfg-options` gives them.

    Raises:
        ConfigError: The file is not there or cannot be read, a variable
            of the environment that it takes is not set, or an override names
            nothing that exists or has the wrong type.
    """
    path = find_config(path)
    if path.suffix not in FORMATS:
        raise ConfigError(
            f'{path} is no config: those end in {" or ".join(FORMATS)}'
        )
    try:
        with _PARSING:
            cfg = Config.fromfile(path)
    except FileNotFoundError as error:
        raise ConfigError(f'{path}: a _base_ is missing: {error}') from None
    except (SyntaxError, NameError, KeyError, ImportError) as error:
        # As mmengine puts it where '{{$NAME:}}' stands.
        unset = re.search(
            r'`(\w+)` cannot be found in `os.environ`', str(error)
        )
        if unset:
            raise ConfigError(
                f'{path} takes {unset[1]} from the environment, where it is '
                f'not set: export {unset[1]}=...'
            ) from None
        kind = type(error).__name__
        raise ConfigError(
            f'{path} is no valid config: {kind}: {error}'
        ) from None
    options = with_tests(cfg, options or {})
    check_overrides(cfg, options)
    cfg.merge_from_dict(options)
    return cfg


def check_config(cfg: Config) -> None:
    """Checks the names, arguments and files in a config.

    Every `type` must be registered, every key beside it must be an argument
    of the class, and files that are named must be there. What stands inside
    of another library's object is left to that object, which may take keys
    out of it before it builds anything, but for what all of OpenMMLab builds
    as it stands, such as the backbone of a detector.

    Args:
        cfg: The config, overrides merged.

    Raises:
        ConfigError: The first thing that does not fit, in one sentence.
    """
    content = cfg.to_dict()
    scope = content.get('default_scope')
    _check_fields(content)
    check_untyped(content)
    known = {''}  # places whose insides are handed on as they stand
    built = {''}  # places that are
    for place, node, owner in typed_dicts(content):
        key = place.removeprefix(f'{owner}.').split('.')[0]
        if owner not in known and not (owner in built and key in AS_IT_STANDS):
            continue
        target, beside = resolve(node['type'], place, scope)
        if target is None:
            continue
        # The transforms of MMDetection's `Albu` are of another library.
        if getattr(target, '__name__', '') != 'Albu':
            built.add(place)
        home = getattr(target, '__module__', None) or ''
        is_own = home.split('.')[0] in OWN
        if is_own:
            known.add(place)
        _check_arguments(node, place, target, beside)
        if is_own:
            # mmengine's `Pretrained` names a checkpoint.
            _check_files(node, place, FILE_KEYS)
        if DATASETS in registries_at(place):
            _check_data(node, place, home)
        elif 'ann_file' in node:
            _check_files(node, place, ('ann_file',), HINT)
    _check_files(content, '', FILE_KEYS)
    check_fit(content)
    check_strategy(content)


def _check_data(node: dict[str, Any], place: str, home: str) -> None:
    """Whether the files of a data set are there; mmengine's have a root."""
    if home.startswith('sparc_vlm'):
        _check_files(node, place, DATA_KEYS, HINT)
    root = Path(node.get('data_root') or '')
    prefix = node.get('data_prefix') or {}
    if isinstance(prefix, str):  # as MMPretrain takes it
        prefix = dict(img_path=prefix)
    named = {
        'ann_file': node.get('ann_file'),
        'data_prefix': prefix.get('img', prefix.get('img_path')),
    }
    for key, name in named.items():
        if isinstance(name, str) and '://' not in name:
            whole = {key: str(root / name)}
            _check_files(whole, place, (key,), HINT)


def _check_arguments(
    node: dict[str, Any],
    place: str,
    target: Callable,
    beside: tuple[str, ...],
) -> None:
    taken = arguments(target)
    if taken is None:
        return
    for key in node:
        if key not in (*taken, *beside, 'type') and key[0] != '_':
            raise ConfigError(
                f'{place}: {target.__name__} takes no {key}'
                + nearest(key, [*taken, *beside])
            )


def _check_fields(content: dict[str, Any]) -> None:
    missing = [field for field in NEEDED if content.get(field) is None]
    if 'model' not in content:
        missing.append('model')
    elif len(missing) == len(NEEDED):
        return  # a config that only evaluates
    if missing:
        known = [field for field in content if field not in missing]
        raise ConfigError(
            f'the config has no {missing[0]}' + nearest(missing[0], known)
        )


def _check_files(
    node: dict[str, Any], place: str, keys: tuple[str, ...], hint: str = ''
) -> None:
    for key in keys:
        value = node.get(key)
        for name in value if isinstance(value, (list, tuple)) else [value]:
            if not isinstance(name, str) or '://' in name or name == WHEEL:
                continue
            path = Path(name).expanduser()
            if not path.exists():
                here = path.parent
                near = os.listdir(here) if here.is_dir() else []
                where = f'{place}.{key}' if place else key
                raise ConfigError(
                    f'{where}: there is no {path}{hint}'
                    + nearest(path.name, near)
                )
