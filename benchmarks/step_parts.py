"""What each part of the training step's speed gives.

python benchmarks/step_parts.py vitb16 vittiny --out parts.json

Turns off one part at a time and lets all variants take turns in one run:
captions without padding, attention written out, the local loss in parts of
like lengths, the fused optimizer, and memory that stays with the process.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.caption_lengths import FLICKR8K, read_lengths  # noqa: E402
from benchmarks.steps import Batch, OurModel, Step, draw_batch  # noqa: E402
from benchmarks.tables import tables  # noqa: E402
from benchmarks.train_step import OBJECTIVES, SIZES, measure  # noqa: E402
from sparc_vlm.engine import load_config  # noqa: E402
from sparc_vlm.engine.heap import keep_heap  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402
from sparc_vlm.models import attention, length_parts  # noqa: E402

WHOLE = 'everything on'


def variants(config: str, batch: Batch) -> dict[str, Step]:
    """The step, and the step without each of its parts.

    Args:
        config: Path of a pretraining config.
        batch: What is trained on.
    """
    ours = OurModel(config)
    context = load_config(config).model.text.max_length
    padded = batch._replace(
        captions=[
            torch.cat([c, c.new_zeros(context - len(c))])
            for c in batch.captions
        ]
    )

    @contextmanager
    def fused_attention() -> Iterator[None]:
        usual = attention.WRITTEN_OUT_UP_TO
        attention.WRITTEN_OUT_UP_TO = 0
        yield
        attention.WRITTEN_OUT_UP_TO = usual

    @contextmanager
    def memory_handed_back() -> Iterator[None]:
        keep_heap(False)
        yield
        keep_heap()

    @contextmanager
    def one_part() -> Iterator[None]:
        usual = length_parts.PARTS
        length_parts.PARTS = 1
        yield
        length_parts.PARTS = usual

    @contextmanager
    def plain_optimizer() -> Iterator[None]:
        groups = ours.wrapper.optimizer.param_groups
        usual = [group['fused'] for group in groups]
        for group in groups:
            group['fused'] = None
        yield
        for group, value in zip(groups, usual, strict=True):
            group['fused'] = value

    step = ours.step(OBJECTIVES['SPARC'], batch)
    return {
        WHOLE: step,
        'captions padded to the context': ours.step(
            OBJECTIVES['SPARC'], padded
        ),
        'fused attention kernel': _inside(fused_attention, step),
        'local loss on the whole batch': _inside(one_part, step),
        'optimizer not fused': _inside(plain_optimizer, step),
        'memory handed back': _inside(memory_handed_back, step),
    }


def slowdowns(sides: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    """How many times as long a step takes without a part, round by round.

    Args:
        sides: From `measure`.

    Returns:
        For each part the ratios, least first.
    """
    whole = sides[WHOLE]['seconds']
    return {
        name: sorted(
            without / with_it
            for without, with_it in zip(side['seconds'], whole, strict=True)
        )
        for name, side in sides.items()
        if name != WHOLE
    }


def _inside(context: Callable[[], Any], step: Step) -> Step:
    """A step whose two parts run in a context of their own."""

    def wrap(function: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with context():
                function()

        return run

    return Step(wrap(step.gradients), wrap(step.update))


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('sizes', nargs='*', default=list(SIZES))
    parser.add_argument('--batch', type=int, help='pairs, for every size')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    MMLogger.get_instance('mmengine', log_level=logging.ERROR)
    keep_heap()
    report = dict(
        seed=args.seed,
        threads=torch.get_num_threads(),
        captions=FLICKR8K.name,
        versions=versions(),
        sizes={},
    )
    for size in args.sizes:
        config, usual = SIZES[size]
        config = str(ROOT / config)
        batch_size = args.batch or usual
        torch.manual_seed(args.seed)
        batch = draw_batch(config, batch_size, read_lengths(), args.seed)
        sides = measure(variants(config, batch), batch_size, args.repeats)
        report['sizes'][size] = dict(
            batch_size=batch_size, sides=sides, slowdowns=slowdowns(sides)
        )
        print(f'{size} is measured', flush=True)
        if args.out is not None:
            args.out.write_text(json.dumps(report, indent=1) + '\n')
    print(*tables(report), sep='\n\n')


if __name__ == '__main__':
    main()
