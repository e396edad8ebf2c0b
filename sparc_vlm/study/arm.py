"""One training run of a comparison, done once and never twice.

What was trained with the same settings is taken as it is; what was trained
with others, or began with other weights, is set aside; what was stopped goes
on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config

import sparc_vlm
from sparc_vlm.engine import ConfigError, load_config
from sparc_vlm.engine.checkpoint import whole_checkpoints
from sparc_vlm.errors import RunError
from sparc_vlm.files import write_json
from sparc_vlm.study.fingerprints import same_starts, starts_of

Launch = Callable[[list[str], Path], int]
"""Runs a command in a folder and returns its exit code."""
_TEXTS: dict[tuple[Path, int, str], str] = {}
"""Of recipes, by file, when that was written, and changes."""


def run_openly(command: list[str], folder: Path) -> int:
    """Runs a command that writes to this terminal.

    Returns:
        Its exit code.

    Raises:
        KeyboardInterrupt: It was stopped, and has ended by itself.
    """
    with subprocess.Popen(command, cwd=folder) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # It saves a checkpoint and ends; `subprocess.run` would kill it.
            process.terminate()
            process.wait()
            raise


@dataclass
class Arm:
    """One model of a comparison.

    Attributes:
        name: What the table calls it.
        config: Path of its recipe.
        folder: Where it is trained.
        root: Where `tools/train.py` is.
        options: Changes to the recipe, by dotted key.
        flags: More arguments of `tools/train.py`, such as `--data`.
        record: Name of the file that says how far it is.
        launch: Runs the training.
        say: Takes each line that says what is done.
    """

    name: str
    config: Path
    folder: Path
    root: Path
    options: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    record: str = 'arm.json'
    launch: Launch = run_openly
    say: Callable[[str], None] = partial(print, flush=True)

    @property
    def model(self) -> Path:
        """The folder that training leaves the model in."""
        return self.folder / 'model'

    def settings(self) -> dict[str, Any]:
        """What decides the result, to tell whether it is there already."""
        found = {
            'config': _recipe_text(self.config, self.options),
            'version': sparc_vlm.__version__,
        }
        if self.flags:
            found['flags'] = list(self.flags)
        starts = starts_of(self.options)
        return {**found, 'starts': starts} if starts else found

    def seconds(self) -> float | None:
        """Seconds that a finished training took; None: it is not there."""
        return self.took() if self.model.is_dir() else None

    def took(self) -> float | None:
        """As `seconds`, even where the model has been deleted since."""
        record = self._record()
        if (
            record is None
            or _change(record['settings'], self.settings())
            or not record['done']
        ):
            return None
        return record['seconds']

    def train(self) -> float:
        """Trains the arm, or goes on with it; nothing if it is done.

        Returns:
            Seconds that its training took, over all runs that it is made of.

        Raises:
            RunError: Training ended with an error, or left no model.
        """
        done = self.seconds()
        if done is not None:
            self.say(f'{self.name}: already trained, in {self.folder}')
            return done
        settings = self.settings()
        record = self._record()
        if record and (change := _change(record['settings'], settings)):
            aside = set_aside(self.folder)
            self.say(f'{self.name}: {change}; moved to {aside}')
            record = None
        # Without a checkpoint it begins anew, and what it took is lost.
        goes_on = record and next(whole_checkpoints(self.folder), None)
        before = record['seconds'] if goes_on else 0.0
        self._write(settings, before, done=False)
        command = [
            *(sys.executable, str(self.root / 'tools' / 'train.py')),
            *(str(self.config), '--work-dir', str(self.folder)),
            *(['--resume'] if record is not None else []),
            *self.flags,
            *(['--cfg-options'] if self.options else []),
            *(f'{key}={value}' for key, value in self.options.items()),
        ]
        self.say(f'{self.name}: {" ".join(command[1:])}')
        start = time.monotonic()
        code = None
        try:
            # Here, as paths of data are meant from here.
            code = self.launch(command, Path.cwd())
        finally:
            seconds = before + time.monotonic() - start
            is_done = code == 0 and self.model.is_dir()
            self._write(settings, seconds, is_done)
        if not is_done:
            raise RunError(
                f'training ended with code {code}'
                if code
                else f'training left no model in {self.model}'
            )
        return seconds

    def _record(self) -> dict[str, Any] | None:
        """What an earlier run noted, if one did."""
        try:
            return json.loads((self.folder / self.record).read_text())
        except (OSError, json.JSONDecodeError):
            return None

    def _write(
        self, settings: dict[str, Any], seconds: float, done: bool
    ) -> None:
        """Notes how far the arm is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note = {'settings': settings, 'seconds': seconds, 'done': done}
        write_json(self.folder / self.record, note)


def _change(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What is different, in words; '' where nothing is."""
    own = dict(before), dict(now)
    starts = [settings.pop('starts', {}) for settings in own]
    if own[0] != own[1]:
        return 'settings have changed'
    return '' if same_starts(*starts) else 'what it starts from has changed'


def _recipe_text(config: Path, options: dict[str, Any]) -> str:
    """A recipe with its changes; MMDetection's take a second, so but once."""
    asked = (config, Path(config).stat().st_mtime_ns, repr(options))
    if asked not in _TEXTS:
        _TEXTS[asked] = load_config(config, options).pretty_text
    return _TEXTS[asked]


def set_aside(path: Path) -> Path:
    """Moves a file or folder to the first free '<name>-earlier-<n>'."""
    number = 1
    while (old := path.with_name(f'{path.name}-earlier-{number}')).exists():
        number += 1
    return path.rename(old)


def shortened(config: Config, steps: int) -> dict[str, Any]:
    """Options that make a recipe, its schedule included, so many updates.

    Args:
        config: The recipe.
        steps: Updates that it shall have.

    Raises:
        ConfigError: Its length is not counted in updates.
    """
    if 'max_iters' not in config.get('train_cfg', {}):
        raise ConfigError(
            'steps takes a recipe that says train_cfg.max_iters: this one '
            'counts otherwise, so leave steps out and set its length in '
            'options'
        )
    full = config.train_cfg.max_iters
    changes = {'train_cfg.max_iters': steps}
    # A captioner is not validated, and says nothing of it.
    lengths = {
        f'train_cfg.{key}': config.train_cfg[key]
        for key in ('val_interval', 'val_begin')
        if key in config.train_cfg
    }
    for place, schedule in enumerate(config.get('param_scheduler', [])):
        for key in ('begin', 'end'):
            if schedule.get(key):
                lengths[f'param_scheduler.{place}.{key}'] = schedule[key]
    for key, length in lengths.items():
        # A warm-up of one update would never end.
        least = 2 if key.startswith('param_') and steps > 2 else 1
        changes[key] = max(length * steps // full, least)
    return changes


def flatten(options: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Options with dicts as values, as dotted keys that a command can take.

    Args:
        options: `{'a.b': 1, 'c': {'d': 2}}` becomes `{'a.b': 1, 'c.d': 2}`.
        prefix: Goes before each key.
    """
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f'{prefix}{key}.')
        else:
            flat[f'{prefix}{key}'] = value
    return flat
