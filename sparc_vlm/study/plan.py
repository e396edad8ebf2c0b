"""A study file, read and checked before anything is trained.

It is an mmengine config that names arms, what they share, and the tasks that
all of them are measured on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparc_vlm.engine import check_config, load_config
from sparc_vlm.engine.config_error import ConfigError, nearest
from sparc_vlm.errors import UserError
from sparc_vlm.recipe import use_data
from sparc_vlm.registry import TASKS
from sparc_vlm.study.arm import Arm, flatten, shortened
from sparc_vlm.study.flags import task_config

FIELDS = (
    *('title', 'note', 'arms', 'baseline', 'tasks', 'pictures'),
    *('steps', 'seeds', 'options', 'data', 'val_data', 'minutes'),
)
ARM_FIELDS = (
    *('name', 'config', 'seeds', 'options', 'steps', 'checkpoint'),
    *('data', 'val_data', 'value', 'note', 'minutes'),
)


@dataclass(frozen=True)
class StudyArm:
    """One row of the study: a recipe at several seeds, or a finished model.

    Attributes:
        name: What tables call it.
        seeds: One training each; (0,) for a finished model.
        config: Path of its recipe; None for a finished model.
        options: Changes to the recipe, by dotted key, without the seed.
        flags: `--data` and `--val-data` of its training.
        checkpoint: A finished model, as `open_model` takes it.
        value: Where it stands on the axis of a sweep.
        note: What the page says about it.
    """

    name: str
    seeds: tuple[int, ...]
    config: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    checkpoint: str | None = None
    value: float | None = None
    note: str = ''

    @property
    def folder(self) -> str:
        """A name for its files."""
        plain = self.name.lower().replace('+', ' plus ')
        return re.sub(r'[^a-z0-9.=-]+', '_', plain).strip('_')

    def run(self, seed: int, work_dir: Path, root: Path) -> Arm:
        """The training at one seed.

        Args:
            seed: Which.
            work_dir: Of the study.
            root: Holds `tools/train.py`.
        """
        return Arm(
            f'{self.name}, seed {seed}',
            self.config,
            work_dir.resolve() / self.folder / f'seed{seed}',
            root,
            {**self.options, 'randomness.seed': seed},
            self.flags,
        )


@dataclass(frozen=True)
class Study:
    """What a study file says.

    Attributes:
        title: Of the page.
        arms: In the order of the tables.
        tasks: Configs for TASKS.
        baseline: Name of the arm that the others are compared with.
        pictures: Examples on the page: dict(dataset=..., indices=[...],
            arms=[...]), or None.
        note: Stands below the title.
    """

    title: str
    arms: tuple[StudyArm, ...]
    tasks: tuple[dict[str, Any], ...]
    baseline: str
    pictures: dict[str, Any] | None = None
    note: str = ''

    @property
    def units(self) -> list[tuple[StudyArm, int]]:
        """Every arm at every seed, the first seed of all arms first."""
        most = max(len(arm.seeds) for arm in self.arms)
        return [
            (arm, arm.seeds[turn])
            for turn in range(most)
            for arm in self.arms
            if turn < len(arm.seeds)
        ]


def read_study(path: str | Path, root: Path) -> Study:
    """Reads a study file and checks all that can be checked at once.

    Args:
        path: The file.
        root: Where configs and data are looked for, beside its folder.

    Raises:
        ConfigError: Something in it does not fit, in one sentence.
        UserError: A recipe, a data set or a task in it does not.
    """
    content = load_config(path).to_dict()
    _known(content, FIELDS, str(path))
    for key in ('arms', 'tasks'):
        if not content.get(key):
            raise ConfigError(f'{path} lists no {key}: name at least one')
    arms = tuple(
        _arm(arm, content, (Path.cwd(), root, Path(path).parent))
        for arm in content['arms']
    )
    names = [arm.name for arm in arms]
    for known in (names, [arm.folder for arm in arms]):
        if len(set(known)) < len(known):
            twice = next(name for name in known if known.count(name) > 1)
            raise ConfigError(f'{path}: two arms are called {twice}')
    baseline = content.get('baseline', names[0])
    pictures = content.get('pictures')
    for name in (baseline, *((pictures or {}).get('arms') or [])):
        if name not in names:
            raise ConfigError(
                f'{path}: there is no arm {name}{nearest(name, names)}'
            )
    return Study(
        content.get('title', Path(path).stem.replace('_', ' ')),
        arms,
        tuple(task_config(task) for task in content['tasks']),
        baseline,
        pictures,
        content.get('note', ''),
    )


def choose(study: Study, names: Iterable[str]) -> list[StudyArm]:
    """The arms of these names; all of them where none is named.

    Raises:
        ConfigError: There is no such arm.
    """
    known = {arm.name: arm for arm in study.arms}
    for name in names:
        if name not in known:
            raise ConfigError(
                f'there is no arm {name} in the study{nearest(name, known)}'
            )
    return [known[name] for name in names] or list(study.arms)


def build_tasks(study: Study) -> list[Any]:
    """The tasks, their data opened.

    Raises:
        ConfigError: One cannot be built, or two have the same name.
    """
    tasks = []
    for cfg in study.tasks:
        try:
            tasks.append(TASKS.build(dict(cfg)))
        except UserError:
            raise
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f'the task {cfg.get("type", cfg)} cannot be built: '
                f'{" ".join(str(error).split())}'
            ) from error
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ConfigError(
            f'two tasks have the same name ({", ".join(names)}): give each a '
            '`name` of its own'
        )
    return tasks


def _arm(
    own: dict[str, Any], shared: dict[str, Any], places: Iterable[Path]
) -> StudyArm:
    """One arm, checked."""
    if 'name' not in own:
        raise ConfigError(f'an arm has no name: {own}')
    name = own['name']
    _known(own, ARM_FIELDS, f'arm {name}')
    more = {'value': own.get('value'), 'note': own.get('note', '')}
    if own.get('checkpoint'):
        checkpoint = str(own['checkpoint'])
        return StudyArm(name, (0,), checkpoint=checkpoint, **more)
    if not own.get('config'):
        raise ConfigError(f'arm {name} needs a config or a checkpoint')
    config = _find(own['config'], places)
    both = {**shared, **own}
    data = _listed(both.get('data'))
    flags = [part for flag in data for part in ('--data', flag)]
    if both.get('val_data'):
        flags += ['--val-data', both['val_data']]
    options = _options(config, both.get('steps'), shared, own)
    try:
        cfg = load_config(config, options)
        if flags:
            use_data(cfg, data, both.get('val_data'))
        check_config(cfg)
    except UserError as error:
        raise ConfigError(f'arm {name}: {error}') from error
    return StudyArm(
        name,
        _seeds(both.get('seeds', 1), name),
        config,
        options,
        tuple(flags),
        **more,
    )


def _options(
    config: Path,
    steps: int | None,
    shared: dict[str, Any],
    own: dict[str, Any],
) -> dict[str, Any]:
    """Changes to a recipe: its length, the study's, the arm's own."""
    options: dict[str, Any] = {}
    if steps:
        options |= shortened(load_config(config), steps)
    options |= flatten(shared.get('options') or {})
    return options | flatten(own.get('options') or {})


def _find(name: str, places: Iterable[Path]) -> Path:
    """A config, looked for from several folders."""
    for place in places:
        if (place / name).is_file():
            return (place / name).resolve()
    return Path(name)  # load_config says that it is not there


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


def _known(content: dict[str, Any], fields: Iterable[str], who: str) -> None:
    for key in content:
        # A name with an underscore is the file's own, for use further down.
        if key not in fields and key[0] != '_':
            raise ConfigError(f'{who}: unknown {key}{nearest(key, fields)}')
