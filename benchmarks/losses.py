"""Time and memory of the losses alone, beside other ways to compute them.

python benchmarks/losses.py --autocast --out benchmarks/results/losses.json

Forward and backward of each objective on random embeddings of the paper's
shapes, with captions as long as Flickr8k's (`--tokens 55` makes all of them
that long), over batches from 64 to 1024: this package's, plain transcriptions
of the equations (`plain_losses`), and x-clip's fine-grained loss beside
FILIP's. Each runs in a process of its own, the sides take turns. Peers run up
to the batch whose memory, estimated beforehand, stays within `--peer-gib`.
Memory is what the first time adds to the process; it includes the embeddings
and their gradients. What takes longer than `--slow` seconds gets fewer rounds,
for the others the first time is not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.caption_lengths import FLICKR8K  # noqa: E402
from benchmarks.loss_measures import OBJECTIVES  # noqa: E402
from benchmarks.loss_rounds import PEERS, TimeLeft, measure  # noqa: E402
from benchmarks.tables import tables  # noqa: E402
from benchmarks.x_clip_loss import NEEDED  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402

SAID_ELSEWHERE = 'out', 'quiet', 'alone', 'objectives', 'batch', 'lengths'


def run(
    args: argparse.Namespace, report: dict[str, Any], is_quiet: bool
) -> None:
    """Measures everything, smallest batches first.

    Args:
        args: Of the command line.
        report: Filled, and written where asked after each case.
        is_quiet: No progress.
    """
    cases = [(o, b) for b in sorted(args.batch) for o in args.objectives]
    left = TimeLeft(cases)
    progress = Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn('at most left'),
        TimeRemainingColumn(),
        speed_estimate_period=3600,
        disable=is_quiet,
    )
    begin = time.perf_counter()
    with progress:
        task = progress.add_task('losses', total=None)

        def say(what: str) -> None:
            progress.update(
                task,
                description=what,
                completed=time.perf_counter() - begin,
            )

        for objective, batch in cases:
            start = time.perf_counter()
            found = measure(args, objective, batch, say)
            report['objectives'].setdefault(objective, {})[str(batch)] = found
            threads = {s['threads'] for s in found.values() if 'threads' in s}
            report['threads'] = threads.pop() if threads else None
            now = time.perf_counter()
            left.done(objective, batch, now - start)
            if (more := left.seconds()) is not None:
                progress.update(task, total=now - begin + more)
            if args.out is not None:
                args.out.write_text(json.dumps(report, indent=1) + '\n')


def parse() -> argparse.Namespace:
    """The command line, checked before anything is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = sorted(OBJECTIVES)
    parser.add_argument('objectives', nargs='*', default=names)
    parser.add_argument(
        '--batch', type=int, nargs='+', default=[64, 128, 256, 512, 1024]
    )
    parser.add_argument('--patches', type=int, default=196)
    parser.add_argument('--tokens', type=int, help='of every caption')
    parser.add_argument(
        '--lengths', type=Path, default=FLICKR8K, help='of real captions'
    )
    parser.add_argument(
        '--longest', type=int, default=55, help='captions are cut at it'
    )
    parser.add_argument('--width', type=int, default=512)
    parser.add_argument(
        '--dtype', choices=('float32', 'bfloat16'), default='float32'
    )
    parser.add_argument(
        '--autocast', action='store_true', help='bf16 products, as training'
    )
    parser.add_argument('--budget', type=int, help='bytes of our blocks')
    parser.add_argument(
        '--peers', nargs='+', choices=list(PEERS), default=list(PEERS)
    )
    parser.add_argument('--alone', action='store_true', help='no peer')
    parser.add_argument(
        '--peer-gib', type=float, default=12, help='memory a peer may take'
    )
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument(
        '--slow',
        type=float,
        default=60,
        help='seconds; what takes longer gets fewer rounds',
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quiet', action='store_true', help='no progress')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    unknown = set(args.objectives) - set(names)
    if unknown:
        parser.error(
            f'objectives are {", ".join(names)}, got {sorted(unknown)}'
        )
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f'--out: there is no folder {args.out.parent}')
    args.peers = [
        peer
        for peer in args.peers
        if not args.alone and set(PEERS[peer]) & set(args.objectives)
    ]
    if 'x-clip' in args.peers:
        try:
            version('x-clip')
        except PackageNotFoundError:
            parser.error(NEEDED)
    return args


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    args = parse()
    options = {
        name: value
        for name, value in vars(args).items()
        if name not in SAID_ELSEWHERE
    }
    report = dict(
        options,
        captions=args.lengths.name if args.tokens is None else None,
        versions=versions(),
        objectives={},
    )
    if 'x-clip' in args.peers:
        report['versions']['x-clip'] = version('x-clip')
    run(args, report, args.quiet)
    print(*tables(report), sep='\n\n')


if __name__ == '__main__':
    main()
