"""What a study compares: arms, and the tasks that all are measured on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from sparc_vlm.engine import load_config, task_loop
from sparc_vlm.engine.config_error import ConfigError, nearest
from sparc_vlm.engine.signatures import arguments
from sparc_vlm.errors import UserError
from sparc_vlm.registry import TASKS
from sparc_vlm.study.arm import Arm


@dataclass(frozen=True)
class StudyArm:
    """One row of the study: a recipe at several seeds, or a finished model.

    Attributes:
        name: What tables call it.
        seeds: One training each; (0,) for a finished model.
        config: Path of its recipe; None for a finished model.
        options: Changes to the recipe, by dotted key, without the seed;
            '{seed}' in a value stands for it.
        data: `--data` of its training, each a data set.
        val_data: `--val-data` of it.
        checkpoint: A finished model, as `open_model` takes it.
        value: Where it stands on the axis of a sweep.
        note: What the page says about it.
        tasks: Changes to the study's tasks for it alone, by their names;
            None where one is not for it.
    """

    name: str
    seeds: tuple[int, ...]
    config: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    val_data: str | None = None
    checkpoint: str | None = None
    value: float | None = None
    note: str = ''
    tasks: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """A name for its files."""
        plain = self.name.lower().replace('+', ' plus ')
        return re.sub(r'[^a-z0-9.=-]+', '_', plain).strip('_')

    @property
    def flags(self) -> tuple[str, ...]:
        """What its training is told of its data."""
        flags = [part for own in self.data for part in ('--data', own)]
        if self.val_data:
            flags += ['--val-data', self.val_data]
        return tuple(flags)

    @property
    def recipe(self) -> Config | None:
        """What it is trained by; None for a finished model."""
        return self.config and load_config(self.config, self.options)

    def options_at(self, seed: int) -> dict[str, Any]:
        """Changes to the recipe at a seed, which is one of them."""
        own = {key: filled(v, seed) for key, v in self.options.items()}
        return {**own, 'randomness.seed': seed}

    def place(self, seed: int, work_dir: Path) -> Path:
        """Where it is trained at a seed, and its results are kept."""
        return work_dir.resolve() / self.folder / f'seed{seed}'

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
            self.place(seed, work_dir),
            root,
            self.options_at(seed),
            self.flags,
        )


Unit = tuple[StudyArm, int]
"""An arm at one of its seeds."""


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
    def units(self) -> list[Unit]:
        """Every arm at every seed, the first seed of all arms first."""
        most = max(len(arm.seeds) for arm in self.arms)
        return [
            (arm, arm.seeds[turn])
            for turn in range(most)
            for arm in self.arms
            if turn < len(arm.seeds)
        ]

    def tasks_of(self, arm: StudyArm) -> tuple[dict[str, Any], ...]:
        """Configs of the tasks that an arm is measured by.

        Args:
            arm: One of the arms.
        """
        changes = [arm.tasks.get(task_name(t), {}) for t in self.tasks]
        return tuple(
            _merged(task, own) if own else task
            for task, own in zip(self.tasks, changes, strict=True)
            if own is not None
        )


def task_name(config: dict[str, Any]) -> str:
    """What a task will be called.

    Args:
        config: Of TASKS; what is none is left to whoever builds it.
    """
    kind = str(config.get('type'))
    build = TASKS.get(kind)
    taken = (arguments(build) if build else None) or {}
    default = taken['name'].default if 'name' in taken else kind
    return config.get('name', default)


def _merged(task: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A task's config with changes, merged as those of a recipe are."""
    merged = Config(dict(task))
    try:
        merged.merge_from_dict(changes)
    except (KeyError, TypeError) as error:
        said = ' '.join(str(error).split())
        raise ConfigError(
            f'the task {task_name(task)} cannot be changed by {changes}: '
            f'{said}'
        ) from error
    return merged.to_dict()


def filled(value: Any, seed: int) -> Any:
    """An option's value at a seed.

    Args:
        value: Texts in it may hold '{seed}', such as the path of what was
            pretrained with the same seed.
        seed: What stands there then.
    """
    if isinstance(value, str):
        return value.replace('{seed}', str(seed))
    if isinstance(value, (list, tuple)):
        return type(value)(filled(part, seed) for part in value)
    return value


def choose(
    study: Study, names: Iterable[str] = (), seeds: Iterable[int] = ()
) -> list[Unit]:
    """Arms at their seeds, the first seed of all arms first.

    Args:
        study: What there is to choose from.
        names: Of the arms that are wanted; all of them where none is named.
        seeds: Those that are wanted; all of them where none is given.

    Raises:
        ConfigError: There is no such arm, or none of them has such a seed.
    """
    names, seeds = list(names), list(seeds)
    known = [arm.name for arm in study.arms]
    for name in names:
        if name not in known:
            raise ConfigError(
                f'there is no arm {name} in the study{nearest(name, known)}'
            )
    own = [unit for unit in study.units if unit[0].name in (names or known)]
    for wanted in seeds:
        if all(seed != wanted for _, seed in own):
            there = ', '.join(map(str, sorted({seed for _, seed in own})))
            raise ConfigError(
                f'no arm has the seed {wanted}: there are {there}'
            )
    return [unit for unit in own if not seeds or unit[1] in seeds]


def build_tasks(
    configs: Sequence[dict[str, Any]], shared: dict[str, Any] | None = None
) -> list[Any]:
    """Tasks, their data opened.

    Args:
        configs: Of TASKS.
        shared: Arguments for all that take them.

    Raises:
        UserError: One cannot be built, or two have the same name.
    """
    try:
        return task_loop.build_tasks(
            [dict(config) for config in configs], dict(shared or {})
        )
    except UserError:
        raise
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f'a task cannot be built: {" ".join(str(error).split())}'
        ) from error


def tasks_by_arm(study: Study) -> dict[str, list[Any]]:
    """The tasks of every arm, by its name, built; what is alike is one task.

    Args:
        study: Whose arms.

    Raises:
        UserError: One cannot be built.
    """
    shared = build_tasks(study.tasks)
    known = list(zip(study.tasks, shared, strict=True))
    found: dict[str, list[Any]] = {}
    for arm in study.arms:
        found[arm.name] = []
        for config in study.tasks_of(arm):
            task = next((t for told, t in known if told == config), None)
            if task is None:
                try:
                    (task,) = build_tasks([config])
                except UserError as error:
                    raise ConfigError(f'arm {arm.name}: {error}') from error
                known.append((config, task))
            found[arm.name].append(task)
    return found
