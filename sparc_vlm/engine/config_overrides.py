"""Checks `--cfg-options` before they are merged into a config.

mmengine merges any key; one that nothing reads would be silently ignored.
"""

from __future__ import annotations

import copy
import inspect
from argparse import ArgumentParser, Namespace
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from sparc_vlm.engine.config_error import ConfigError, nearest
from sparc_vlm.engine.config_types import resolve
from sparc_vlm.engine.signatures import arguments
from sparc_vlm.registry import LOADERS

FIELDS = (
    *list(inspect.signature(Runner.__init__).parameters)[1:],
    'activation_checkpointing',
    'auto_batch',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'keep_features',
    'load_strict',
    'strategy',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tokenizer',
    'trust',
)
"""Top-level fields that are read: the runner's arguments and some more."""

FREE = ('custom_keys', 'dist_cfg', 'metainfo', 'mp_cfg', 'paramwise_cfg')
"""Dicts whose keys a user may add to."""

UNTYPED = {
    'auto_batch': ('global_batch_size', 'unit'),
    'clip_grad': ('type', 'max_norm', 'norm_type', 'clip_value', 'foreach'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'randomness': ('seed', 'diff_rank_seed', 'deterministic'),
    'tokenizer_training': ('vocab_size', 'max_captions'),
}
"""What is read from dicts that stand for no class."""


class KeyValues(DictAction):
    """mmengine's action for `KEY=VALUE ...`, which says what has no '='."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        """Reads the pairs; ends the program in a sentence at what is none."""
        for value in values:
            if not value.partition('=')[1]:
                parser.error(
                    f'{option_string}: {value!r} is no KEY=VALUE, such as '
                    'train_cfg.max_iters=100'
                )
        super().__call__(parser, namespace, values, option_string)


def check_untyped(content: dict[str, Any]) -> None:
    """Checks the keys of a config's dicts that stand for no class.

    Args:
        content: The config.

    Raises:
        ConfigError: A key that nothing reads.
    """
    for field, known in UNTYPED.items():
        for key in content.get(field) or ():
            if key not in known:
                raise ConfigError(
                    f'{field} has no {key}' + nearest(key, known)
                )


def check_overrides(cfg: Config, options: dict[str, Any]) -> None:
    """Checks overrides before they are merged.

    A key must be in the config already, or be an argument of the class whose
    dict it goes to. A value must be of the kind that it replaces.

    Args:
        cfg: The config.
        options: Dotted keys ('optim_wrapper.optimizer.lr') and values.

    Raises:
        ConfigError: The first override that does not fit, in one sentence.
    """
    content = cfg.to_dict()
    for key, value in options.items():
        _check(content, key, value, options)


def with_tests(cfg: Config, options: dict[str, Any]) -> dict[str, Any]:
    """Overrides of validation, for tests as well where they are the same.

    Else a config that tests as it validates would test on other data.

    Args:
        cfg: The config, as it was read.
        options: Dotted keys and values; what they say of tests is final.

    Returns:
        These overrides, and those that follow.
    """
    fields = ('val_dataloader', 'val_evaluator')
    alike = cfg.get('test_dataloader') and all(
        cfg.get(field) == cfg.get(field.replace('val', 'test', 1))
        for field in fields
    )
    if not alike or any(key.startswith('test_') for key in options):
        return options
    follow = {
        key.replace('val', 'test', 1): copy.deepcopy(value)
        for key, value in options.items()
        if key.split('.')[0] in fields or (key == 'val_cfg' and value is None)
    }
    return options | follow


def _check(
    content: dict[str, Any], key: str, value: Any, options: dict[str, Any]
) -> None:
    """Walks down to where a key points, and stops where it leads nowhere."""
    node: Any = content
    parts = key.split('.')
    for depth, part in enumerate(parts):
        place = '.'.join(parts[:depth])
        if node is None or (depth and parts[depth - 1] in FREE):
            return
        if isinstance(node, dict):
            if part not in node:
                _check_new(content, node, place, part, options)
                return
            parameter = _parameter(content, node, place, part, options)
            node = node[part]
        elif isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(
                    f'{key}: {place} is a list of {len(node)}, so give a '
                    f'number from 0 to {len(node) - 1} instead of {part}'
                )
            node, parameter = node[int(part)], None
        else:
            raise ConfigError(
                f'{key}: {place} is the value {node!r}, which has no {part}'
            )
    _check_kind(key, node, value, parameter)


def _taken(
    content: dict[str, Any], node: dict, place: str, options: dict[str, Any]
) -> dict[str, inspect.Parameter] | None:
    """Arguments of the class that a dict stands for; None: unknown."""
    kind = options.get(f'{place}.type', node.get('type'))
    try:
        target, beside = resolve(kind, place, content.get('default_scope'))
    except ConfigError:
        return None  # said by check_config, which sees the whole
    found = None if target is None else arguments(target)
    return None if found is None else {**dict.fromkeys(beside), **found}


def _parameter(
    content: dict[str, Any],
    node: dict,
    place: str,
    part: str,
    options: dict[str, Any],
) -> inspect.Parameter | None:
    if not place or 'type' not in node or part == 'type':
        return None
    return (_taken(content, node, place, options) or {}).get(part)


def _check_new(
    content: dict[str, Any],
    node: dict,
    place: str,
    part: str,
    options: dict[str, Any],
) -> None:
    """Whether a key that is not there yet may be added."""
    known = set(node)
    whole = f'{place}.{part}' if place else part
    if f'{whole}.type' in options or part == '_delete_':
        return  # a new object; check_config looks at its arguments
    if not place:
        known |= set(FIELDS)
    elif (name := place.split('.')[-1]) in UNTYPED:
        known |= set(UNTYPED[name])
    elif 'type' in node:
        taken = _taken(content, node, place, options)
        if taken is None:
            return
        known |= set(taken)
    if place == 'train_dataloader':
        # `--data shards:...` puts one in its place, with what it takes.
        known |= set(arguments(LOADERS.get('ShardLoader')))
    if part not in known or part in node:
        where = place or 'the config'
        raise ConfigError(
            f'{whole}: {where} has no {part}' + nearest(part, known)
        )


def _check_kind(
    key: str, old: Any, new: Any, parameter: inspect.Parameter | None
) -> None:
    """Whether a value is of the kind that it replaces."""
    if old is None or _same_kind(old, new, parameter):
        return
    wanted = {bool: 'True or False', int: 'a whole number', float: 'a number'}
    name = wanted.get(type(old), f'a {type(old).__name__}')
    raise ConfigError(
        f'{key} wants {name} such as {old!r}, and {new!r} is a '
        f'{type(new).__name__}'
    )


def _same_kind(
    old: Any, new: Any, parameter: inspect.Parameter | None
) -> bool:
    hint = str(getattr(parameter, 'annotation', ''))
    if new is None:
        default = getattr(parameter, 'default', 0)
        optional = default is None or 'None' in hint or 'Optional' in hint
        return optional or not isinstance(old, (bool, int, float))
    if isinstance(old, bool) or isinstance(new, bool):
        return isinstance(old, bool) and isinstance(new, bool)
    if isinstance(old, int):
        widened = isinstance(new, float) and 'float' in hint
        return isinstance(new, int) or widened
    if isinstance(old, float):
        return isinstance(new, (int, float))
    if isinstance(old, (list, tuple)):
        return isinstance(new, (list, tuple))
    if isinstance(old, dict):
        return isinstance(new, dict)
    if isinstance(old, str):
        # '1' arrives as a number, a list stands for several paths.
        return not isinstance(new, dict)
    return True
