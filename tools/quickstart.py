"""Trains CLIP, SPARC and SPARC+ one after the other and compares them.

SPARC is the paper's method; SPARC+ adds negatives from other images. Prints
one table and writes a page with the heat maps of all three side by side.
What is trained is not trained again: run it again after a stop, and it goes
on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import sparc_vlm  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402
from sparc_vlm.evaluation import progress_bar  # noqa: E402
from sparc_vlm.files import write_json, write_text  # noqa: E402
from sparc_vlm.registry import DATASETS  # noqa: E402
from sparc_vlm.visualization import comparison  # noqa: E402
from sparc_vlm.visualization.curves import read_scalars  # noqa: E402

CONFIGS = {
    'CLIP': ROOT / 'configs' / 'clip_vittiny_scenes.py',
    'SPARC': ROOT / 'configs' / 'sparc_vittiny_scenes.py',
    'SPARC+': ROOT / 'configs' / 'sparc_plus_vittiny_scenes.py',
}
FULL_SECONDS = 1200
# What three models have time for in FULL_SECONDS on two cores.
FULL_UPDATES = 240
# Starting python five times, evaluating and drawing, at the least.
FIXED_SECONDS = 55
PICTURES = 500
DRAWN = 6


@dataclass
class Arm:
    """One model of the comparison.

    Attributes:
        name: What the table calls it.
        config: Path of its recipe.
        folder: Where it is trained.
        options: Changes to the recipe, by dotted key.
    """

    name: str
    config: Path
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        """The folder that training leaves the model in."""
        return self.folder / 'model'

    def settings(self) -> dict[str, str]:
        """What decides the result, to tell whether it is there already."""
        config = Config.fromfile(self.config)
        config.merge_from_dict(self.options)
        return {
            'config': config.pretty_text,
            'version': sparc_vlm.__version__,
        }

    def train(self) -> float:
        """Trains the arm, or goes on with it; nothing if it is done.

        Returns:
            Seconds that its training took, over all its runs.

        Raises:
            RuntimeError: Training ended with an error, or left no model.
        """
        settings = self.settings()
        record = self._record()
        if record is not None and record['settings'] != settings:
            self._set_aside()
            record = None
        if record is not None and record['done'] and self.model.is_dir():
            print(f'{self.name}: already trained, in {self.folder}')
            return record['seconds']
        before = record['seconds'] if record is not None else 0.0
        self._write(settings, before, done=False)
        command = [
            *(sys.executable, str(ROOT / 'tools' / 'train.py')),
            *(str(self.config), '--work-dir', str(self.folder)),
            *(['--resume'] if record is not None else []),
            *(['--cfg-options'] if self.options else []),
            *(f'{key}={value}' for key, value in self.options.items()),
        ]
        print(f'{self.name}: {" ".join(command[1:])}', flush=True)
        start = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        seconds = before + time.monotonic() - start
        if code or not self.model.is_dir():
            self._write(settings, seconds, done=False)
            raise RuntimeError(
                f'training ended with code {code}'
                if code
                else f'training left no model in {self.model}'
            )
        self._write(settings, seconds, done=True)
        return seconds

    def _record(self) -> dict[str, Any] | None:
        """What an earlier run noted, if one did."""
        path = self.folder / 'quickstart.json'
        try:
            return json.loads(path.read_text())
        except (OSError, json.JSONDecodeError):
            return None

    def _write(
        self, settings: dict[str, str], seconds: float, done: bool
    ) -> None:
        """Notes how far the arm is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note = {'settings': settings, 'seconds': seconds, 'done': done}
        path = self.folder / 'quickstart.json'
        path.write_text(json.dumps(note, indent=1))

    def _set_aside(self) -> None:
        """Moves what was trained with other settings out of the way."""
        number = 1
        while (old := Path(f'{self.folder}-earlier-{number}')).exists():
            number += 1
        self.folder.rename(old)
        print(f'{self.name}: settings have changed; moved to {old}')


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/quickstart'),
        help='where everything is written (%(default)s)',
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=FULL_SECONDS,
        help='about how long all of it may take on two cores; fewer updates '
        'and fewer pictures are used (%(default)s)',
    )
    parser.add_argument(
        '--steps', type=int, help='updates of each model, instead of --seconds'
    )
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args(arguments)


def plan(options: argparse.Namespace) -> tuple[list[Arm], int]:
    """The arms, and how many held-out pictures they are measured on."""
    part = (options.seconds - FIXED_SECONDS) / (FULL_SECONDS - FIXED_SECONDS)
    part = min(max(part, 0.01), 1.0)
    pictures = max(round(PICTURES * part), 50)
    arms = []
    for name, path in CONFIGS.items():
        config = Config.fromfile(path)
        full = config.train_cfg.max_iters
        steps = max(round(min(full, FULL_UPDATES) * part), 2)
        steps = options.steps or steps
        changes: dict[str, Any] = {'randomness.seed': options.seed}
        if steps != full:
            changes |= shortened(config, steps)
        if pictures < PICTURES:
            for place in range(len(config.val_evaluator)):
                key = f'val_evaluator.{place}.dataset.num_images'
                changes[key] = pictures
        folder = options.work_dir.resolve() / path.stem.split('_vit')[0]
        arms.append(Arm(name, path, folder, changes))
    return arms, pictures


def shortened(config: Config, steps: int) -> dict[str, Any]:
    """Options that make a recipe, its schedule included, so many updates."""
    full = config.train_cfg.max_iters
    changes = {'train_cfg.max_iters': steps}
    lengths = {'train_cfg.val_interval': config.train_cfg.val_interval}
    for place, schedule in enumerate(config.get('param_scheduler', [])):
        for key in ('begin', 'end'):
            if schedule.get(key):
                lengths[f'param_scheduler.{place}.{key}'] = schedule[key]
    for key, length in lengths.items():
        changes[key] = max(length * steps // full, 1)
    return changes


def main(arguments: list[str] | None = None) -> int:
    """Trains, measures, prints and draws; returns the exit code."""
    options = parse(arguments)
    start = time.monotonic()
    arms, pictures = plan(options)
    seconds, failed = {}, {}
    for arm in arms:
        # One arm's failure must not cost the other's result.
        try:
            seconds[arm.name] = arm.train()
        except RuntimeError as error:
            failed[arm.name] = str(error)
            print(f'{arm.name} FAILED: {error}', flush=True)
    trained = [arm for arm in arms if arm.name in seconds]
    if trained:
        compare(trained, seconds, failed, pictures, options)
    print(f'{time.monotonic() - start:.0f} s in all')
    return 1 if failed else 0


def compare(
    arms: list[Arm],
    seconds: dict[str, float],
    failed: dict[str, str],
    pictures: int,
    options: argparse.Namespace,
) -> None:
    """Measures what was trained; prints the table, writes page and JSON."""
    config = Config.fromfile(arms[0].config)
    held_out = config.val_evaluator[0].dataset
    source = DATASETS.build(
        {**held_out, 'split': 'test', 'num_images': pictures}
    )
    tasks = comparison.standard_tasks(source)
    models = {arm.name: sparc_vlm.load(arm.model) for arm in arms}
    results, values = {}, {}
    for name, model in models.items():
        with progress_bar() as progress:
            results[name] = comparison.measure(model, tasks, progress)
        values[name], chance = comparison.joined(results[name])
    table = comparison.comparison_table(
        values, chance, f'{pictures} held-out scenes'
    )
    baseline, *challengers = values
    said = [
        sentence
        for challenger in challengers
        for sentence in comparison.verdict(table, challenger, baseline)
    ] or [f'Only {baseline} was trained: nothing to compare.']
    said += [f'{name} failed: {reason}.' for name, reason in failed.items()]
    said.append(f'One seed ({options.seed}): small differences mean little.')
    print('\n' + table.text() + '\n')
    print('\n'.join(said))

    details = [
        f'{arm.name}: `{arm.config.name}`, '
        + ', '.join(f'{k}={v}' for k, v in arm.options.items())
        + f', {seconds[arm.name]:.0f} s'
        for arm in arms
    ]
    found = versions()
    scalars = {arm.name: read_scalars(arm.folder) for arm in arms}
    details.append(', '.join(f'{k} {v}' for k, v in found.items()))
    page = comparison.comparison_page(
        f'{" and ".join(models)} on drawn scenes',
        table,
        said,
        models,
        scalars,
        source,
        range(min(DRAWN, pictures)),
        details,
    )
    report = {
        'metrics': values,
        'chance': chance,
        'verdict': said,
        'failed': failed,
        'pictures': pictures,
        'seed': options.seed,
        'seconds': seconds,
        'config': {arm.name: arm.settings()['config'] for arm in arms},
        'versions': found,
        'last_logged': {
            name: {
                key: list(values.values())[-1] for key, values in own.items()
            }
            for name, own in scalars.items()
        },
    }
    samples = {
        name: [result.to_json() for result in own]
        for name, own in results.items()
    }
    path = page.save(options.work_dir)
    write_json(options.work_dir / 'results.json', report)
    write_json(options.work_dir / 'samples.json', samples)
    write_text(options.work_dir / 'table.md', table.markdown() + '\n')
    print(f'\npage: {path}')


if __name__ == '__main__':
    sys.exit(main())
