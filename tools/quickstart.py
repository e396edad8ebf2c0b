"""Trains CLIP, SPARC and SPARC+ one after the other and compares them.

SPARC is the paper's method; SPARC+ adds negatives from other images. Prints
one table and writes a page with the heat maps of all three side by side.
What is trained is not trained again: run it again after a stop, and it goes
on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import sparc_vlm  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402
from sparc_vlm.errors import UsageError, UserError, sentence  # noqa: E402
from sparc_vlm.evaluation import progress_bar  # noqa: E402
from sparc_vlm.files import (  # noqa: E402
    check_writable,
    write_json,
    write_text,
)
from sparc_vlm.registry import DATASETS  # noqa: E402
from sparc_vlm.study.arm import Arm, shortened  # noqa: E402
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
RECORD = 'quickstart.json'
USAGE, INTERRUPTED = 2, 130


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
        arms.append(Arm(name, path, folder, ROOT, changes, record=RECORD))
    return arms, pictures


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit code."""
    options = parse(arguments)
    try:
        if options.steps is not None and options.steps < 1:
            raise UsageError(
                f'--steps must be at least 1, got {options.steps}'
            )
        check_writable(options.work_dir)
        return run(options)
    except UserError as error:
        print(f'error: {sentence(error)}', file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print('interrupted; run it again to go on', file=sys.stderr)
        return INTERRUPTED


def run(options: argparse.Namespace) -> int:
    """Trains, measures, prints and draws; returns the exit code."""
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
