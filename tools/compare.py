"""Trains the arms of a study alike, measures them alike, writes one page.

python tools/compare.py projects/pretraining_study/scenes.py

What is done is not done again: run it again after a stop, and it goes on
where it was. Exit status: 0; 1 if an arm failed, which the page says; 2 if
the study could not begin.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sparc_vlm.errors import UsageError, UserError, sentence  # noqa: E402
from sparc_vlm.files import check_writable  # noqa: E402
from sparc_vlm.study import (  # noqa: E402
    Failure,
    Runner,
    best_device,
    check_units,
    choose,
    open_pictures,
    read_study,
    study_progress,
    tasks_by_arm,
    write_report,
)

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('study', help='a study file, see docs/study.md')
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='where everything is written; work_dirs/<study> if left out',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='where results.json and the page go; the work folder if left out',
    )
    parser.add_argument(
        '--only',
        nargs='+',
        default=[],
        metavar='ARM',
        help='do these arms; the page has whatever is there',
    )
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[],
        metavar='N',
        help='do these seeds; the page has whatever is there',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        metavar='N',
        help='train so many arms at once; the cores are shared out among '
        'them, and so is a GPU (%(default)s)',
    )
    parser.add_argument(
        '--report',
        action='store_true',
        help='train and measure nothing, write the page of what is there',
    )
    parser.add_argument(
        '--no-pictures',
        action='store_true',
        help='leave examples, and texts of the data, out of the page: for '
        'data that may not be handed on',
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse(arguments)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    work_dir = args.work_dir or Path('work_dirs') / Path(args.study).stem
    try:
        if args.jobs < 1:
            raise UsageError(f'--jobs must be at least 1, got {args.jobs}')
        study = read_study(args.study, ROOT)
        if args.no_pictures:
            study = replace(study, pictures=None)
        units = choose(study, args.only, args.seeds)
        if study.pictures:
            open_pictures(study.pictures)
        tasks = {}
        if not args.report:
            check_units(study, units, work_dir, ROOT)
            tasks = tasks_by_arm(study)
            check_writable(work_dir)
        check_writable(args.out or work_dir)
    except UserError as error:
        console.print(f'error: {sentence(error)}', style='red', markup=False)
        return USAGE
    failures: list[Failure] = []
    # As an interrupt: the training saves, and so can be gone on with.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not args.report:
            with study_progress(len(units)) as progress:
                runner = Runner(
                    study,
                    tasks,
                    work_dir,
                    ROOT,
                    progress,
                    args.jobs,
                    best_device(),
                )
                failures = runner.failures
                runner.run(units)
        out = args.out or work_dir
        page = write_report(study, work_dir, out, ROOT, failures)
    except KeyboardInterrupt:
        console.print('interrupted; run it again to go on', style='red')
        return INTERRUPTED
    if page is None:
        console.print('nothing is trained and measured yet', style='red')
        return FAILED
    print(f'page: {page}')
    return FAILED if failures else 0


if __name__ == '__main__':
    sys.exit(main())
