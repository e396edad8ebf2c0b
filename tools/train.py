"""Trains whatever a config describes.

python tools/train.py configs/sparc_vitb16.py
torchrun --nproc-per-node 8 tools/train.py configs/sparc_vitb16.py \
    --data 'shards:/data/{00000..00999}.tar'
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mmengine.config import DictAction
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sparc_vlm.engine import (  # noqa: E402
    ConfigError,
    SparcRunner,
    check_config,
    join_processes,
    load_config,
    whole_checkpoints,
)
from sparc_vlm.recipe import (  # noqa: E402
    fit_to_machine,
    use_data,
    use_tokenizer,
)
from sparc_vlm.registry import RUNNERS  # noqa: E402
from sparc_vlm.weights import WeightsError  # noqa: E402


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='what to train, a file in configs/')
    parser.add_argument(
        '--data',
        action='append',
        default=[],
        metavar='KIND:PATH',
        help='scenes (the default), coco:/folder, karpathy:/dataset.json, '
        'csv:/table.csv, folders:/folder, labels:/file or '
        'shards:/path/{000..999}.tar; several times for several data sets',
    )
    parser.add_argument(
        '--work-dir', help='where to write; work_dirs/<config> if left out'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from the latest checkpoint of the work folder, or from '
        'this one',
    )
    parser.add_argument(
        '--keep-batch',
        action='store_true',
        help='take the global batch and learning rate that the config states',
    )
    parser.add_argument(
        '--trust',
        action='store_true',
        help='unpickle what a checkpoint holds: only for files of your own',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='changes to the config, such as train_cfg.max_iters=100',
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(arguments)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        runner = build_runner(args, console)
    except (ConfigError, WeightsError, FileNotFoundError) as error:
        console.print(f'error: {error}', style='red', markup=False)
        return 2
    runner.train()
    return 0


def build_runner(args: argparse.Namespace, console: Console) -> SparcRunner:
    """The runner of a checked config, ready to train.

    Args:
        args: The command line.
        console: Where to say what was changed.

    Raises:
        ConfigError: Something in the config does not fit.
    """
    cfg = load_config(args.config, args.cfg_options)
    name = Path(args.config).stem
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{name}'
    join_processes()
    cfg.launcher = 'pytorch' if 'WORLD_SIZE' in os.environ else 'none'
    cfg.trust = args.trust
    choose_start(cfg, args.resume)
    lines = []
    try:
        if args.data:
            lines += use_data(cfg, args.data)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    check_config(cfg)
    lines += fit_to_machine(cfg, args.keep_batch)
    if cfg.get('tokenizer'):
        lines += use_tokenizer(cfg, cfg.work_dir)
    if int(os.environ.get('RANK', 0)) == 0:
        for line in lines:
            console.print(line, markup=False)
    cfg.setdefault('runner_type', 'SparcRunner')
    return RUNNERS.build(cfg)


def choose_start(cfg, resume: str | None) -> None:  # noqa: ANN001
    """Starts anew, or from a checkpoint; never over what is there.

    Args:
        cfg: The config; changed in place.
        resume: 'auto', a checkpoint, or None to start anew.

    Raises:
        ConfigError: The work folder has checkpoints and nobody said to
            resume, or the named checkpoint is not there.
    """
    there = next(whole_checkpoints(cfg.work_dir), None)
    if resume is None:
        if there is not None:
            raise ConfigError(
                f'{cfg.work_dir} holds a run already ({there.name}): '
                'add --resume to go on with it, or name another --work-dir'
            )
        return
    cfg.resume = True
    if resume != 'auto':
        if not Path(resume).is_file():
            raise ConfigError(f'there is no checkpoint {resume} to resume')
        cfg.load_from = resume


if __name__ == '__main__':
    sys.exit(main())
