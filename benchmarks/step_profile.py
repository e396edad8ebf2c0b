"""Where the time of one training step goes.

python benchmarks/step_profile.py vittiny --out profile.json

Encoders, loss, backward, clipping, optimizer; no data loading. Says which
share of the time each operation takes, and which share is spent outside
matrix products.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.caption_lengths import read_lengths  # noqa: E402
from benchmarks.steps import OurModel, draw_batch, open_clip_step  # noqa: E402
from benchmarks.train_step import OBJECTIVES, SIZES  # noqa: E402
from sparc_vlm.engine.heap import keep_heap  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402

PRODUCTS = ('aten::mm', 'aten::addmm', 'aten::bmm', 'aten::baddbmm')
FUSED = 'scaled_dot_product_flash_attention'


def shares(step: Callable[[], None]) -> dict[str, float]:
    """Share of a step's time that each operation takes, largest first.

    Args:
        step: Takes one training step.
    """
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    times = {e.key: e.self_cpu_time_total for e in profiler.key_averages()}
    total = sum(times.values())
    ordered = sorted(times.items(), key=lambda item: -item[1])
    return {name: time / total for name, time in ordered}


def outside_products(found: dict[str, float]) -> float:
    """Share of the time that is not spent in matrix products.

    The fused attention kernel counts as a product.

    Args:
        found: From `shares`.
    """
    return 1 - sum(
        share
        for name, share in found.items()
        if name in PRODUCTS or FUSED in name
    )


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('size', choices=SIZES)
    parser.add_argument('--side', choices=(*OBJECTIVES, 'open_clip'))
    parser.add_argument('--batch', type=int)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--most', type=int, default=15, help='rows to show')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    MMLogger.get_instance('mmengine', log_level=logging.ERROR)
    keep_heap()
    config, usual = SIZES[args.size]
    config = str(ROOT / config)
    torch.manual_seed(args.seed)
    batch = draw_batch(config, args.batch or usual, read_lengths(), args.seed)
    side = args.side or 'SPARC'
    if side in OBJECTIVES:
        step = OurModel(config).step(OBJECTIVES[side], batch)
    else:
        step = open_clip_step(config, batch)
    found = shares(step)
    outside = outside_products(found)
    print(f'{args.size}, {side}: {outside:.0%} of it outside products')
    for name, share in list(found.items())[: args.most]:
        print(f'{share:6.1%}  {name}')
    if args.out is not None:
        report = dict(
            size=args.size,
            side=side,
            batch=len(batch.captions),
            seed=args.seed,
            threads=torch.get_num_threads(),
            versions=versions(),
            outside_products=outside,
            shares={k: v for k, v in found.items() if v >= 0.001},
        )
        args.out.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
