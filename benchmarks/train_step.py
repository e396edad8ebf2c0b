"""Pairs a second of a training step, beside open_clip's.

python benchmarks/train_step.py vitb32 vitb16 vittiny --repeats 5 \
    --out benchmarks/results/train_step.json

A step is both encoders, the loss, the backward pass, clipping and the
update, in bf16 autocast, with captions as long as Flickr8k's (`--captions
FILE` takes others, one a line). The sides take turns in one run, since
machines are noisy; open_clip's model and loss are built at the same sizes,
and it computes its whole context whatever the captions' lengths. Needs
open_clip_torch unless `--alone`.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.caption_lengths import (  # noqa: E402
    FLICKR8K,
    read_captions,
    read_lengths,
    token_lengths,
)
from benchmarks.matrix_rate import matrix_rate, timed  # noqa: E402
from benchmarks.steps import (  # noqa: E402
    OurModel,
    Step,
    draw_batch,
    open_clip_step,
)
from benchmarks.tables import tables  # noqa: E402
from sparc_vlm.cost.count import flop_counter  # noqa: E402
from sparc_vlm.engine.heap import keep_heap  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402

SIZES = dict(
    vitb32=('configs/sparc_vitb32.py', 64),
    vitb16=('configs/sparc_vitb16.py', 32),
    vittiny=('configs/sparc_vittiny_scenes.py', 256),
)
"""Config and batch size of each."""
OBJECTIVES = dict(
    SPARC=dict(type='SPARC', global_weight=0.5, local_weight=1.0),
    CLIP=dict(type='CLIP'),
)
RATIOS = (
    ('SPARC', 'open_clip'),
    ('CLIP', 'open_clip'),
    ('SPARC', 'CLIP'),
)
PEERS = dict(open_clip=open_clip_step)


def measure(
    steps: dict[str, Step], batch_size: int, repeats: int, device: str = 'cpu'
) -> dict[str, dict[str, Any]]:
    """Times steps that take turns.

    Args:
        steps: By name.
        batch_size: Pairs of each.
        repeats: Rounds that are timed, after one that is not.
        device: Where they run.

    Returns:
        For each name the seconds of each round, of the whole step and of its
        update, pairs a second (median), and operations in products.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, step in steps.items():
        counter = flop_counter()
        with counter:
            step.gradients()
        step.update()
        found[name] = dict(
            operations=counter.get_total_flops(), seconds=[], update_seconds=[]
        )
    for _ in range(repeats):
        for name, step in steps.items():
            gradients = timed(step.gradients, device)
            update = timed(step.update, device)
            found[name]['seconds'].append(gradients + update)
            found[name]['update_seconds'].append(update)
    for side in found.values():
        side['pairs_per_second'] = batch_size / statistics.median(
            side['seconds']
        )
    return found


def ratios(sides: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    """How many times the pairs a second of another side, round by round.

    Args:
        sides: From `measure`.

    Returns:
        For each pair of sides the ratios, least first.
    """
    found = {}
    for name, other in RATIOS:
        if name in sides and other in sides:
            rounds = sorted(
                theirs / ours
                for ours, theirs in zip(
                    sides[name]['seconds'],
                    sides[other]['seconds'],
                    strict=True,
                )
            )
            found[f'{name} over {other}'] = rounds
    return found


def run(
    config: str,
    batch_size: int,
    lengths: list[int],
    repeats: int,
    peers: dict[str, Callable[..., Step]],
    seed: int = 0,
    device: str = 'cpu',
) -> dict[str, Any]:
    """Measures one size.

    Args:
        config: Path of a pretraining config.
        batch_size: Pairs in the batch.
        lengths: Of captions, in tokens.
        repeats: Rounds that are timed.
        peers: Name to what builds the peer's step.
        seed: Of weights, pictures and captions.
        device: Where.
    """
    torch.manual_seed(seed)
    batch = draw_batch(config, batch_size, lengths, seed)
    ours = OurModel(config, device)
    steps = {
        name: ours.step(objective, batch)
        for name, objective in OBJECTIVES.items()
    }
    for name, build in peers.items():
        steps[name] = build(config, batch, device)
    before = matrix_rate(device)
    sides = measure(steps, batch_size, repeats, device)
    # A machine's clock may change in the course of a run.
    rate = statistics.mean([before, matrix_rate(device)])
    for side in sides.values():
        side['share_of_matrix_rate'] = side['operations'] / (
            rate * statistics.median(side['seconds'])
        )
    return dict(
        config=Path(config).name,
        batch_size=batch_size,
        tokens_per_caption=sum(map(len, batch.captions)) / batch_size,
        matrix_rate=rate,
        sides=sides,
        ratios=ratios(sides),
    )


def _name(device: str) -> str | None:
    """What the card is called; a CPU's name says little about its speed."""
    if torch.device(device).type != 'cuda':
        return None
    return torch.cuda.get_device_name(device)


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('sizes', nargs='*', default=list(SIZES))
    parser.add_argument('--batch', type=int, help='pairs, for every size')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--captions', type=Path, help='one a line')
    parser.add_argument('--alone', action='store_true', help='no peer')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    unknown = set(args.sizes) - set(SIZES)
    if unknown:
        parser.error(f'sizes are {", ".join(SIZES)}, got {sorted(unknown)}')
    MMLogger.get_instance('mmengine', log_level=logging.ERROR)
    keep_heap()  # as training does; the peer, in the same process, gains too
    lengths = read_lengths()
    if args.captions is not None:
        lengths = token_lengths(read_captions(args.captions))
    report = dict(
        seed=args.seed,
        device=args.device,
        device_name=_name(args.device),
        threads=torch.get_num_threads(),
        captions=(args.captions or FLICKR8K).name,
        versions=versions(),
        sizes={},
    )
    peers = {} if args.alone else PEERS
    if peers:
        report['versions']['open_clip_torch'] = version('open_clip_torch')
    for size in args.sizes:
        config, usual = SIZES[size]
        report['sizes'][size] = run(
            str(ROOT / config),
            args.batch or usual,
            lengths,
            args.repeats,
            peers,
            args.seed,
            args.device,
        )
        print(f'{size} is measured', flush=True)
        if args.out is not None:
            args.out.write_text(json.dumps(report, indent=1) + '\n')
    print(*tables(report), sep='\n\n')


if __name__ == '__main__':
    main()
