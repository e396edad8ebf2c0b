"""Measures a model by zero-shot tasks.

python tools/test.py configs/sparc_vittiny_scenes.py work_dirs/run/model
python tools/test.py work_dirs/run/model \
    --tasks retrieval:karpathy:/data/flickr8k segmentation:scenes:,size=64
python tools/test.py open_clip:ViT-B-32:/data/weights.safetensors \
    --tasks retrieval:coco:/data/coco --out results.json

Exit status: 0; 1 if a task failed, while the others stand; 2 if it could not
begin because of what was given.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sparc_vlm.devices import find_device  # noqa: E402
from sparc_vlm.engine import ConfigError, KeyValues, load_config  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402
from sparc_vlm.errors import UsageError, UserError, sentence  # noqa: E402
from sparc_vlm.evaluation import progress_bar  # noqa: E402
from sparc_vlm.features import use_recipes_features  # noqa: E402
from sparc_vlm.files import check_writable, reason  # noqa: E402
from sparc_vlm.registry import TASKS  # noqa: E402
from sparc_vlm.study import (  # noqa: E402
    best_device,
    build_tasks,
    measure,
    open_model,
    split_flags,
    task_config,
    write_sheet,
)
from sparc_vlm.study.measure import evaluation_settings  # noqa: E402
from sparc_vlm.study.models import check_model, identity  # noqa: E402
from sparc_vlm.study.tables import sheet_table  # noqa: E402

FAILED, USAGE, INTERRUPTED = 1, 2, 130

DETECTORS = (
    'those are measured in a study, tools/compare.py, by the tasks BoxAP or '
    'WordAP, see docs/study.md'
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'model',
        metavar='CONFIG CHECKPOINT | MODEL',
        help='a recipe and what was trained with it; or a model folder, a '
        'checkpoint beside one, open_clip:NAME[:WEIGHTS] or hf:FOLDER',
    )
    parser.add_argument('checkpoint', nargs='?', help=argparse.SUPPRESS)
    parser.add_argument(
        '--tasks',
        nargs='+',
        default=[],
        metavar='TASK:KIND:PATH[,OPTION=VALUE...]',
        help='what to measure on what, see docs/evaluation.md; those of the '
        "recipe's test_evaluator or val_evaluator if left out",
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help='writes all that was found, sample by sample, as JSON; .json.gz '
        'compresses',
    )
    parser.add_argument(
        '--device', help='where to compute; a GPU if there is one'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValues,
        default={},
        metavar='KEY=VALUE',
        help='changes to the recipe, such as '
        'val_evaluator.0.dataset.split=test',
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse(arguments)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        recipe, name = read_target(args)
        configs, shared = tasks_of(recipe, args.tasks)
        check_model(name)
        device = args.device or best_device()
        # Tasks may take minutes to read their data.
        find_device(device)
        if args.out is not None:
            check_writable(args.out.parent)
        tasks = build_tasks(configs, shared)
        model = open_model(name, device)
        if hasattr(model, 'detect'):
            raise UsageError(f'{name} is a detector: {DETECTORS}')
        use_recipes_features(
            model, recipe or {}, lambda line: console.print(line, markup=False)
        )
        report = {
            'model': name,
            'config': recipe and recipe.pretty_text,
            'seed': recipe and recipe.get('randomness', {}).get('seed'),
            'versions': versions(),
            'tasks': {},
            'failed': {},
        }
        write(args.out, report)
        for line in run(model, tasks, configs, report):
            print(line + '\n', flush=True)
            write(args.out, report)
    except UserError as error:
        console.print(f'error: {sentence(error)}', style='red', markup=False)
        return USAGE
    except KeyboardInterrupt:
        console.print('interrupted', style='red')
        return INTERRUPTED
    for task, why in report['failed'].items():
        console.print(f'FAILED {task}: {why}', style='red', markup=False)
    if args.out is not None:
        print(f'written: {args.out}')
    return FAILED if report['failed'] else 0


def read_target(args: argparse.Namespace) -> tuple[Config | None, str]:
    """The recipe, if one is named, and the name of the model.

    Args:
        args: The command line.

    Raises:
        ConfigError: A recipe without a model, or two models.
    """
    is_recipe = args.model.endswith('.py')
    if is_recipe and args.checkpoint is None:
        raise ConfigError(
            f'{args.model} is a recipe: name what was trained with it as '
            'well, such as work_dirs/<name>/model'
        )
    if is_recipe:
        return load_config(args.model, args.cfg_options), args.checkpoint
    if args.checkpoint is not None:
        raise ConfigError(
            f'two models are named, {args.model} and {args.checkpoint}: name '
            'one, or a recipe (.py) and one'
        )
    if args.cfg_options:
        raise ConfigError('--cfg-options needs a recipe to change')
    return None, args.model


def tasks_of(
    recipe: Config | None, flags: list[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Configs of the tasks, and arguments that they share.

    Args:
        recipe: Whose tasks are taken where no flag is given.
        flags: Of the command line.

    Raises:
        UserError: There is none, or one cannot be read.
    """
    if flags:
        return [task_config(flag) for flag in split_flags(flags)], {}
    for stage in ('test', 'val'):
        tasks = recipe.get(f'{stage}_evaluator') if recipe else None
        if tasks:
            tasks = tasks if isinstance(tasks, list) else [tasks]
            for task in tasks:
                if TASKS.get(task['type']) is None:
                    raise ConfigError(
                        f'{stage}_evaluator of the recipe is {task["type"]}, '
                        f'of a detector: {DETECTORS}'
                    )
            shared = recipe.get(f'{stage}_dataloader') or {}
            return [dict(task) for task in tasks], dict(shared)
    raise ConfigError(
        'say what to measure: --tasks TASK:KIND:PATH, such as '
        'retrieval:karpathy:/data/flickr8k'
    )


def run(
    model: Any,
    tasks: list[Any],
    configs: list[dict[str, Any]],
    report: dict[str, Any],
) -> Iterator[str]:
    """Measures by one task after the other.

    Args:
        model: Any.
        tasks: Built.
        configs: Of each.
        report: Filled with what they find.

    Yields:
        The table of each; what fails costs itself alone.
    """
    weights = identity(report['model'])
    for task, config in zip(tasks, configs, strict=True):
        try:
            with progress_bar() as progress:
                sheet = measure(task, model, progress)
        except UserError as error:
            report['failed'][task.name] = sentence(error)
        except Exception as error:
            traceback.print_exc()
            report['failed'][task.name] = f'{type(error).__name__}: {error}'
        else:
            sheet['settings'] = evaluation_settings(config, weights)
            report['tasks'][task.name] = sheet
            yield sheet_table(sheet).text()


def write(path: Path | None, report: dict[str, Any]) -> None:
    """Writes what was found so far.

    Raises:
        UsageError: The disk does not take it.
    """
    if path is None:
        return
    try:
        write_sheet(path, report)
    except OSError as error:
        raise UsageError(
            f'{path} cannot be written: {reason(error)}'
        ) from error


if __name__ == '__main__':
    sys.exit(main())
