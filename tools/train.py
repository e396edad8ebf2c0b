"""Trains whatever a config describes.

python tools/train.py configs/sparc_vitb16.py
torchrun --nproc-per-node 8 tools/train.py configs/sparc_vitb16.py \
    --data 'shards:/data/{00000..00999}.tar'

Exit status: 0; 1 if the run failed; 2 if it could not begin because of what
was given; 128 + the signal's number if a signal ended it (143 for SIGTERM).
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sparc_vlm.engine import (  # noqa: E402
    CheckpointError,
    ConfigError,
    KeyValues,
    SafeCheckpointHook,
    SparcRunner,
    check_config,
    join_processes,
    load_config,
    whole_checkpoints,
)
from sparc_vlm.engine.checkpoint import OWN  # noqa: E402
from sparc_vlm.engine.heap import keep_heap  # noqa: E402
from sparc_vlm.engine.machine import note_machine  # noqa: E402
from sparc_vlm.engine.precision import KEY as PRECISION  # noqa: E402
from sparc_vlm.engine.precision import fit_precision  # noqa: E402
from sparc_vlm.engine.processes import launcher  # noqa: E402
from sparc_vlm.errors import UserError, sentence  # noqa: E402
from sparc_vlm.features import keep_features  # noqa: E402
from sparc_vlm.files import check_writable, reason  # noqa: E402
from sparc_vlm.recipe import (  # noqa: E402
    fit_to_machine,
    use_data,
    use_seed,
    use_tokenizer,
)
from sparc_vlm.registry import RUNNERS  # noqa: E402

FAILED, USAGE, STOPPED = 1, 2, 128
"""Exit status: of a run that failed, of a run that could not begin because
of what it was given, and to add to the number of the signal that ended it."""

REFUSED = (errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EROFS)
"""What a disk says where nobody's code is to blame."""


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
        'csv:/table.csv, folders:/folder, labels:/file, llava:/file.json or '
        'shards:/path/{000..999}.tar; several times for several data sets',
    )
    parser.add_argument(
        '--val-data',
        metavar='KIND:PATH',
        help='held-out pairs, where --data brings none or others are wanted',
    )
    parser.add_argument(
        '--work-dir', help='where to write; work_dirs/<config> if left out'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const=OWN,
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
        action=KeyValues,
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
        runner.train()
    except KeyboardInterrupt:
        console.print('interrupted', style='red')
        return STOPPED + signal.SIGINT
    except UserError as error:
        console.print(f'error: {sentence(error)}', style='red', markup=False)
        given = (CheckpointError, ImportError, OSError, ValueError)
        return USAGE if isinstance(error, given) else FAILED
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        where = f'{error.filename}: ' if error.filename else ''
        said = f'error: {where}{reason(error)}'
        console.print(said, style='red', markup=False)
        return USAGE
    return stopped_by(runner)


def stopped_by(runner: SparcRunner) -> int:
    """128 and the number of the signal that ended a run early, else 0."""
    for hook in runner.hooks:
        if isinstance(hook, SafeCheckpointHook) and hook.stopped:
            stop = hook.stop
            # Without a request, another process was told to stop.
            name = stop.name if stop.requested else 'SIGTERM'
            return STOPPED + signal.Signals[name]
    return 0


def build_runner(args: argparse.Namespace, console: Console) -> SparcRunner:
    """The runner of a checked config, ready to train.

    Args:
        args: The command line.
        console: Where to say what was changed.

    Raises:
        ConfigError: Something in the config does not fit.
        UsageError: The work folder cannot be written to.
    """
    is_first = int(os.environ.get('RANK', 0)) == 0

    def say(line: str) -> None:
        if is_first:
            console.print(line, markup=False)

    cfg = load_config(args.config, args.cfg_options)
    name = Path(args.config).stem
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{name}'
    choose_start(cfg, args.resume)
    join_processes()
    cfg.launcher = launcher(cfg.get('launcher', 'none'))
    cfg.trust = args.trust
    if args.data or args.val_data:
        for line in use_data(cfg, args.data, args.val_data):
            say(line)
    use_seed(cfg)
    check_config(cfg)
    for line in fit_to_machine(cfg, args.keep_batch):
        say(line)
    for line in fit_precision(cfg, PRECISION in args.cfg_options):
        say(line)
    if is_first:
        # What is made first, features and a tokenizer, takes minutes.
        check_writable(cfg.work_dir)
        note_machine(cfg)
    if not torch.accelerator.is_available():
        keep_heap()
    keep_features(cfg, say)
    if cfg.get('tokenizer'):
        use_tokenizer(cfg, cfg.work_dir, say)
    if cfg.get('default_scope') == 'mmdet':
        # Not for everyone: MMDetection takes seconds to import.
        from sparc_vlm.detection.export import use_export

        for line in use_export(cfg):
            say(line)
    if cfg.model.get('language'):
        # Not for everyone: transformers takes seconds to import.
        from sparc_vlm.captioning.recipe import use_captioner

        for line in use_captioner(cfg):
            say(line)
    cfg.setdefault('runner_type', 'sparc_vlm.SparcRunner')
    return RUNNERS.build(cfg)


def choose_start(cfg: Config, resume: str | None) -> None:
    """Starts anew, or from a checkpoint; never over what is there.

    Args:
        cfg: The config; changed in place.
        resume: `OWN` for the latest of the work folder, a checkpoint, or
            None to start anew.

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
    if resume != OWN:
        if not Path(resume).is_file():
            raise ConfigError(f'there is no checkpoint {resume} to resume')
        cfg.resume, cfg.load_from = True, resume
    elif there is not None or not cfg.get('resume'):
        # Its own, not the `load_from` that the run began with.
        cfg.resume = OWN


if __name__ == '__main__':
    sys.exit(main())
