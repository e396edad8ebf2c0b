"""Where the time of one training step goes.

python benchmarks/step_profile.py configs/sparc_vittiny_scenes.py --batch 256

Runs the recipe's model on one batch of its own data (encoders, loss,
backward, clipping, optimiser; no data loading) and says how many pairs a
second that makes and which share of the time is spent outside matrix
products. `--attention fused` measures what PyTorch's fused kernel would cost
in place of the products written out; both alternate in one run with
`--attention both`, since machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sparc_vlm.engine import load_config  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402
from sparc_vlm.models import attention  # noqa: E402
from sparc_vlm.recipe import use_tokenizer  # noqa: E402
from sparc_vlm.registry import LOADERS, MODELS  # noqa: E402

PRODUCTS = ('aten::mm', 'aten::addmm', 'aten::bmm', 'aten::baddbmm')
FUSED = 'scaled_dot_product_flash_attention'
WRITTEN_OUT = attention.WRITTEN_OUT_UP_TO


def build_step(path: str, batch_size: int) -> Callable[[], None]:
    """A function that takes one training step on a fixed batch.

    Args:
        path: Of a pretraining config on drawn scenes.
        batch_size: Pairs in the batch.
    """
    cfg = load_config(path)
    cfg.train_dataloader.batch_size = batch_size
    cfg.train_dataloader.num_workers = 0
    with tempfile.TemporaryDirectory() as folder:
        use_tokenizer(cfg, folder, print)
        batch = next(iter(LOADERS.build(cfg.train_dataloader)))
        model = MODELS.build(cfg.model)
    model.init_weights()
    batch.pop('report')
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        data = model.data_preprocessor(batch, training=True)
        with torch.autocast('cpu', torch.bfloat16):
            losses = model(**data, mode='loss')
        loss, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()

    return step


def outside_products(step: Callable[[], None]) -> float:
    """Share of a step's time that is not spent in matrix products.

    The fused attention kernel counts as a product.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = profiler.key_averages()
    total = sum(e.self_cpu_time_total for e in events)
    inside = sum(
        e.self_cpu_time_total
        for e in events
        if e.key in PRODUCTS or FUSED in e.key
    )
    return 1 - inside / total


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--steps', type=int, default=8)
    parser.add_argument(
        '--attention', choices=('written', 'fused', 'both'), default='both'
    )
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    step = build_step(args.config, args.batch)
    limits = dict(written=WRITTEN_OUT, fused=0)
    names = list(limits) if args.attention == 'both' else [args.attention]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(args.steps + 1):
        for name in names:
            attention.WRITTEN_OUT_UP_TO = limits[name]
            start = time.perf_counter()
            step()
            if number:
                seconds[name].append(time.perf_counter() - start)
    report = dict(
        config=Path(args.config).name,
        batch=args.batch,
        threads=torch.get_num_threads(),
        versions=versions(),
    )
    for name in names:
        attention.WRITTEN_OUT_UP_TO = limits[name]
        median = statistics.median(seconds[name])
        report[name] = dict(
            seconds=seconds[name],
            pairs_per_second=args.batch / median,
            outside_products=outside_products(step),
        )
        print(
            f'attention {name}: {median:.3f} s a step (fastest '
            f'{min(seconds[name]):.3f}, slowest {max(seconds[name]):.3f}), '
            f'{args.batch / median:.0f} pairs/s, '
            f'{report[name]["outside_products"]:.0%} outside products'
        )
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
