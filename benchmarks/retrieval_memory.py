"""Time and memory of ranking 5000 pictures and 25,000 captions both ways.

python benchmarks/retrieval_memory.py --out benchmarks/results/retrieval.json

The retrieval task as tools run it, with embeddings drawn at random in the
encoders' place, so that what is left is the task's own work; the same with
five folds (COCO 1k); the whole matrix of scores sorted, as it is often
written; and clip_benchmark's retrieval where it is installed. Each round runs
in a process of its own, the sides take turns. Memory is what the process
grows by at the most, the embeddings included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.process_memory import resident  # noqa: E402
from benchmarks.retrieval_sides import PEER, SIDES, Drawn  # noqa: E402
from benchmarks.tables import tables  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402


def measure(side: str, args: argparse.Namespace) -> dict[str, Any]:
    """One round of a side, in a process that does nothing else.

    Args:
        side: One of `SIDES`.
        args: Of the command line.
    """
    if args.threads:
        torch.set_num_threads(args.threads)
    # Libraries load what they need at the first call.
    SIDES[side](Drawn(64, args.captions, 8, 0))
    before = resident()
    drawn = Drawn(args.pictures, args.captions, args.width, args.seed)
    begin = time.perf_counter()
    recalls = SIDES[side](drawn)
    seconds = time.perf_counter() - begin
    return dict(
        seconds=seconds,
        peak_bytes=resident() - before,
        embeddings_bytes=drawn.images.nbytes + drawn.texts.nbytes,
        threads=torch.get_num_threads(),
        recalls=recalls,
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rounds of all sides, in turns.

    Args:
        args: Of the command line.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['benchmarks.retrieval_memory'])
    sides: dict[str, dict[str, Any]] = {}
    report = dict(
        pictures=args.pictures,
        captions_per_picture=args.captions,
        width=args.width,
        seed=args.seed,
        versions=versions(),
        retrieval=sides,
    )
    if PEER in args.sides:
        report['versions'][PEER] = version(PEER)
    with Progress(disable=args.quiet) as progress:
        bar = progress.add_task('', total=args.rounds * len(args.sides))
        for _ in range(args.rounds):
            for side in args.sides:
                progress.update(bar, description=side)
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    found = pool.submit(measure, side, args).result()
                report['threads'] = found['threads']
                report['embeddings_bytes'] = found['embeddings_bytes']
                kept = sides.setdefault(
                    side,
                    dict(seconds=[], peak_bytes=[], recalls=found['recalls']),
                )
                kept['seconds'].append(found['seconds'])
                kept['peak_bytes'].append(found['peak_bytes'])
                progress.advance(bar)
    return report


def parse() -> argparse.Namespace:
    """The command line, checked before anything is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--pictures', type=int, default=5000)
    parser.add_argument('--captions', type=int, default=5, help='a picture')
    parser.add_argument('--width', type=int, default=512)
    parser.add_argument(
        '--sides', nargs='+', choices=list(SIDES), default=list(SIDES)
    )
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quiet', action='store_true', help='no progress')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    if args.pictures < 10:
        parser.error('--pictures: at least 10 are needed')
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f'--out: there is no folder {args.out.parent}')
    if PEER in args.sides:
        try:
            version(PEER)
        except PackageNotFoundError:
            rest = ' '.join(f"'{s}'" for s in args.sides if s != PEER)
            parser.error(
                f"{PEER} is not installed: pip install 'sparc_vlm[benchmark]'"
                f', or choose --sides {rest}'
            )
    return args


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    args = parse()
    report = run(args)
    print(*tables(report), sep='\n\n')
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
