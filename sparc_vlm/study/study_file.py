"""A study file, read and checked before anything is trained.

It is an mmengine config that names arms, what they share, and the tasks that
all of them are measured on.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

from sparc_vlm.engine import load_config
from sparc_vlm.engine.config_error import ConfigError, nearest
from sparc_vlm.study.arm import flatten, shortened
from sparc_vlm.study.flags import task_config
from sparc_vlm.study.forms import check_fields
from sparc_vlm.study.plan import Study, StudyArm, task_name

FIELDS = (
    *('title', 'note', 'arms', 'baseline', 'tasks', 'pictures'),
    *('steps', 'seeds', 'options', 'data', 'val_data', 'custom_imports'),
)
ARM_FIELDS = (
    *('name', 'config', 'seeds', 'options', 'steps', 'checkpoint'),
    *('data', 'val_data', 'value', 'note', 'tasks'),
)
PICTURE_FIELDS = ('dataset', 'indices', 'arms', 'words', 'threshold')
TOLD = {
    'randomness.seed': 'seeds has them',
    'work_dir': '--work-dir of the study has it',
}
TRAINING_FIELDS = {*ARM_FIELDS} - {
    *('name', 'checkpoint', 'value', 'note', 'tasks')
}


def read_study(path: str | Path, root: Path) -> Study:
    """Reads a study file and checks what it says.

    Whether its recipes can be trained is for `check_units`: a page alone
    takes neither their data nor what they start from.

    Args:
        path: The file.
        root: Where configs and data are looked for, beside its folder.

    Raises:
        ConfigError: Something in it does not fit, in one sentence.
        UserError: A task in it does not.
    """
    content = load_config(path).to_dict()
    check_fields(content, FIELDS, str(path))
    for key in ('arms', 'tasks'):
        if not content.get(key):
            raise ConfigError(f'{path} lists no {key}: name at least one')
    for task in content['tasks']:
        if not isinstance(task, (str, dict)):
            raise ConfigError(f'{path}: a task is a text or a dict: {task}')
    arms = tuple(
        _arm(arm, content, (Path.cwd(), root, Path(path).parent))
        for arm in content['arms']
    )
    names = [arm.name for arm in arms]
    for known in (names, [arm.folder for arm in arms]):
        if len(set(known)) < len(known):
            twice = next(name for name in known if known.count(name) > 1)
            raise ConfigError(f'{path}: two arms are called {twice}')
    baseline = content.get('baseline') or names[0]
    pictures = _pictures(content.get('pictures'), str(path))
    for name in (baseline, *((pictures or {}).get('arms') or [])):
        if name not in names:
            raise ConfigError(
                f'{path}: there is no arm {name}{nearest(name, names)}'
            )
    study = Study(
        content.get('title', Path(path).stem.replace('_', ' ')),
        arms,
        tuple(task_config(task) for task in content['tasks']),
        baseline,
        pictures,
        content.get('note', ''),
    )
    for arm in arms:
        _check_tasks(arm, study)
    return study


def _arm(
    own: dict[str, Any],
    shared: dict[str, Any],
    places: Iterable[Path],
) -> StudyArm:
    """One arm."""
    if not isinstance(own, dict) or not own.get('name'):
        raise ConfigError(f'an arm has no name: {own}')
    name = own['name']
    check_fields(own, ARM_FIELDS, f'arm {name}', elsewhere=('tasks',))
    if not re.search('[a-z0-9]', StudyArm(name, (0,)).folder):
        raise ConfigError(
            f'arm {name}: its folder is named after it, so that it needs a '
            'letter from a to z or a digit'
        )
    more = {
        'value': own.get('value'),
        'note': own.get('note', ''),
        'tasks': own.get('tasks') or {},
    }
    if own.get('checkpoint'):
        checkpoint = str(own['checkpoint'])
        without = sorted(TRAINING_FIELDS & set(own))
        if without:
            raise ConfigError(
                f'arm {name} is a finished model, which takes no '
                f'{" and no ".join(without)}: leave that out'
            )
        return StudyArm(name, (0,), checkpoint=checkpoint, **more)
    if not own.get('config'):
        raise ConfigError(f'arm {name} needs a config or a checkpoint')
    config = _find(own['config'], places)
    both = {**shared, **own}
    return StudyArm(
        name,
        _seeds(both.get('seeds', 1), name),
        config,
        _options(config, both.get('steps'), shared, own),
        tuple(_listed(both.get('data'))),
        both.get('val_data'),
        **more,
    )


def _pictures(asked: dict[str, Any] | None, path: str) -> dict | None:
    """What the page shows examples of, a flag for the data made a config."""
    if not asked:
        return None
    if isinstance(asked.get('dataset'), str):
        task = task_config(f'retrieval:{asked["dataset"]}')
        asked = {**asked, 'dataset': task['dataset']}
    check_fields(asked, PICTURE_FIELDS, f'{path}: pictures')
    if not asked.get('dataset'):
        raise ConfigError(f'{path}: pictures needs a dataset')
    return asked


def _check_tasks(arm: StudyArm, study: Study) -> None:
    """Whether an arm's changes to tasks are of tasks that are there."""
    names = [task_name(task) for task in study.tasks]
    told = [arm.tasks]
    if isinstance(arm.tasks, dict):
        told = [own for own in arm.tasks.values() if own is not None]
    if not all(isinstance(own, dict) for own in told):
        raise ConfigError(
            f'arm {arm.name}: tasks is a dict of dicts, the changes to each '
            "of the study's tasks by its name, or None for one left out"
        )
    for name, changes in arm.tasks.items():
        if name not in names:
            raise ConfigError(
                f'arm {arm.name}: the study has no task {name}'
                f'{nearest(name, names)}'
            )
        for key in {'name', 'type'} & {*(changes or ())}:
            raise ConfigError(
                f'arm {arm.name}: {key} of the task {name} stays, since arms '
                'are compared by tasks of one name: give the study another '
                'task'
            )
    try:
        own = study.tasks_of(arm)
    except ConfigError as error:
        raise ConfigError(f'arm {arm.name}: {error}') from error
    if not own:
        raise ConfigError(
            f'arm {arm.name} has no task left: keep one, or leave out the arm'
        )


def _options(
    config: Path,
    steps: int | None,
    shared: dict[str, Any],
    own: dict[str, Any],
) -> dict[str, Any]:
    """Changes to a recipe: its length, the study's, the arm's own."""
    options: dict[str, Any] = {}
    if steps is not None:
        if steps < 1:
            raise ConfigError(
                f'arm {own["name"]}: steps must be at least 1, got {steps}'
            )
        options |= shortened(load_config(config), steps)
    options |= flatten(shared.get('options') or {})
    options |= flatten(own.get('options') or {})
    for key, value in options.items():
        if key in TOLD:
            raise ConfigError(
                f'arm {own["name"]}: {key} is not for options: {TOLD[key]}'
            )
        if not _can_be_told(key, value):
            raise ConfigError(
                f'arm {own["name"]}: {key}={value} cannot be given to '
                'tools/train.py: write a config that has it'
            )
    return options


def _can_be_told(key: str, value: Any) -> bool:
    """Whether a command line hands the value on as it is."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--told', nargs='+', action=DictAction)
    # It asserts that brackets are closed.
    try:
        told = parser.parse_args(['--told', f'{key}={value}']).told
    except AssertionError:
        return False
    return told == {key: value}


def _find(name: str, places: Iterable[Path]) -> Path:
    """A config, looked for from several folders."""
    for place in places:
        if (place / name).is_file():
            return (place / name).resolve()
    load_config(name)  # says that it is not there
    return Path(name)


def _seeds(seeds: int | list[int], name: str) -> tuple[int, ...]:
    chosen = range(seeds) if isinstance(seeds, int) else seeds
    if not len(chosen) or len(set(chosen)) < len(chosen):
        raise ConfigError(
            f'arm {name}: seeds must be a number of them, or different '
            f'numbers in a list, got {seeds}'
        )
    return tuple(chosen)


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
