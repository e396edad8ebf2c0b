"""What `--tasks retrieval:karpathy:/data/flickr8k` stands for.

The task, the data that it is run on and options of both in one word, so that
a model can be measured on anything without writing a config.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from sparc_vlm.datasets.kinds import KINDS
from sparc_vlm.engine.config_error import ConfigError, nearest
from sparc_vlm.engine.signatures import arguments
from sparc_vlm.registry import DATASETS, TASKS

FORM = 'TASK:KIND:PATH[,OPTION=VALUE...]'
HOMES = {'attribution': 'sparc_vlm.captioning'}
"""Packages that are imported for a task of theirs, and not before."""


def split_flags(flags: Iterable[str]) -> list[str]:
    """Flags of tasks one by one.

    Args:
        flags: A flag each, or several with commas between them.
    """
    return [
        one for flag in flags for one in re.split(r',(?=\w+:[\w-]+:)', flag)
    ]


def task_config(task: str | dict[str, Any]) -> dict[str, Any]:
    """The config of a task.

    Args:
        task: A config already, or a flag of the form
            'retrieval:karpathy:/data/flickr8k,split=val,batch_size=32'. An
            option goes to the task where it takes it, else to the data.

    Raises:
        ConfigError: An unknown task, kind or option; the nearest is named.
        UserError: What the path names is not there.
    """
    if not isinstance(task, str):
        return dict(task)
    name, kind, path, options = _parts(task)
    if name in HOMES:
        import_module(HOMES[name])
    types = {_plain(known): known for known in TASKS.module_dict}
    if _plain(name) not in types or name not in KINDS:
        raise ConfigError(f'{task}: no task {name}{nearest(name, KINDS)}')
    if kind not in KINDS[name]:
        raise ConfigError(
            f'{task}: {name} reads no {kind}{nearest(kind, KINDS[name])}'
        )
    build = TASKS.get(types[_plain(name)])
    taken = set(arguments(build) or ()) - {'dataset'}
    of_task = {key: options[key] for key in options if key in taken}
    rest = {key: options[key] for key in options if key not in taken}
    dataset = KINDS[name][kind](path, rest)
    _check(task, name, dataset, taken)
    return {
        'type': types[_plain(name)],
        'name': f'{name}_{kind}',
        **of_task,
        'dataset': dataset,
    }


def _check(
    flag: str, name: str, dataset: dict[str, Any], taken: set[str]
) -> None:
    """Stops at an option that neither the data nor the task take."""
    # What chose the files is gone by now; shuffled captions have a source.
    parts = [dataset]
    if isinstance(dataset.get('source'), dict):
        parts.append(dataset['source'])
    read = [arguments(DATASETS.get(part['type'])) for part in parts]
    known = taken.union(*(own or () for own in read))
    for part, own in zip(parts, read, strict=True):
        for key in part:
            if key != 'type' and own is not None and key not in own:
                raise ConfigError(
                    f'{flag}: neither {dataset["type"]} nor {name} takes '
                    f'{key}{nearest(key, known)}'
                )


def _parts(flag: str) -> tuple[str, str, str, dict[str, Any]]:
    """Task, kind, path and options of a flag."""
    whole, *pairs = re.split(r',(?=\w+=)', flag)
    name, _, rest = whole.partition(':')
    kind, _, path = rest.partition(':')
    if not kind:
        raise ConfigError(f'{flag}: say what to measure on, as {FORM}')
    options = {}
    for pair in pairs:
        key, _, value = pair.partition('=')
        try:
            options[key] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            options[key] = value
    return name, kind, path, options


def _plain(name: str) -> str:
    """'KPrecision' and 'k_precision' alike."""
    return name.replace('_', '').lower()
