"""Memory and time of one objective's loss at a batch, without encoders.

python benchmarks/loss_memory.py filip --batch 4096 --autocast --out filip.json

Runs forward and backward of the loss on random embeddings of the paper's
shapes (196 patches, 55 tokens, 512 wide), on a CPU or a GPU. Peak memory is
that of the whole process (on a GPU, of its allocator); inputs and their
gradients, which no way of computing the loss can do without, are named apart.
`losses` puts other ways of computing the same losses beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.loss_measures import (  # noqa: E402
    OBJECTIVES,
    build_objective,
    forward_backward,
    input_bytes,
    peak_memory,
    random_pairs,
    sum_of_losses,
)
from benchmarks.process_memory import resident  # noqa: E402
from sparc_vlm.engine.versions import versions  # noqa: E402
from sparc_vlm.models.pairwise import block_shape, default_budget  # noqa: E402
from sparc_vlm.structures import PairEmbeddings  # noqa: E402

GIB = 2**30


class Counted:
    """Scores of pairs that say each time a block is done.

    Args:
        scores: The objective's own.
        done: Called after each block.
    """

    def __init__(self, scores: Any, done: Callable[[], None]) -> None:
        self.scores = scores
        self.done = done
        self.prepare = scores.prepare
        self.pair_bytes = scores.pair_bytes

    def __call__(self, *tensors: Any) -> Any:
        """Scores a block."""
        found = self.scores(*tensors)
        self.done()
        return found


def blocks(
    scores: Any, pairs: PairEmbeddings, budget: int
) -> tuple[int, tuple[int, int]]:
    """How often blocks are scored, forward and backward, and their shape.

    Args:
        scores: How the objective scores pairs.
        pairs: Embeddings of the batch.
        budget: Bytes of a block.
    """
    batch = len(pairs.image)
    pair = scores.pair_bytes((pairs.patches,), (pairs.tokens,))
    shape = block_shape(batch, batch, pair, budget)
    count = -(-batch // shape[0]) * -(-batch // shape[1])
    return count if count == 1 else 2 * count, shape


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the loss once, with progress.

    Args:
        args: Of the command line.
    """
    torch.set_num_threads(args.threads or torch.get_num_threads())
    start_memory = resident()
    pairs = random_pairs(args)
    budget = args.budget or default_budget(pairs.image.device)
    objective = build_objective(args.objective, args.width, budget)
    objective = objective.to(args.device).train()
    on_gpu = pairs.image.device.type == 'cuda'
    shape, total = None, None
    progress = Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(elapsed_when_finished=False),
        disable=args.quiet,
    )
    task = progress.add_task(f'{args.objective}, batch {args.batch}')
    if hasattr(objective, 'scores'):
        total, shape = blocks(objective.scores, pairs, budget)
        objective.scores = Counted(
            objective.scores, lambda: progress.advance(task)
        )
    progress.update(task, total=total)
    started = time.process_time()
    with progress:
        loss, seconds, forward = forward_backward(
            lambda given: sum_of_losses(objective(given)), pairs, args.autocast
        )
    inputs = [pairs.patches, pairs.image, pairs.tokens, pairs.text]
    size, gradients = input_bytes(pairs)
    return dict(
        objective=args.objective,
        batch=args.batch,
        patches=args.patches,
        tokens=args.tokens,
        width=args.width,
        dtype=args.dtype,
        autocast=args.autocast,
        device=args.device,
        threads=torch.get_num_threads(),
        seed=args.seed,
        block=shape,
        budget_bytes=getattr(objective, 'budget', None),
        loss=loss.item(),
        gradient_norms=[
            None if value.grad is None else value.grad.norm().item()
            for value in inputs
        ],
        seconds=seconds,
        forward_seconds=forward,
        # Of all threads: what counts where the machine did other work too.
        cpu_seconds=time.process_time() - started,
        pairs_per_second=args.batch**2 / seconds,
        peak_bytes=peak_memory(args.device),
        before_inputs_bytes=0 if on_gpu else start_memory,
        inputs_bytes=size,
        gradients_bytes=gradients,
        versions=versions(),
    )


def main() -> None:
    """Measures and prints; writes JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('objective', choices=sorted(OBJECTIVES))
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--patches', type=int, default=196)
    parser.add_argument('--tokens', type=int, default=55)
    parser.add_argument('--width', type=int, default=512)
    parser.add_argument(
        '--dtype', choices=('float32', 'bfloat16'), default='float32'
    )
    parser.add_argument(
        '--autocast', action='store_true', help='bf16 products'
    )
    parser.add_argument('--budget', type=int, help='bytes of a block')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quiet', action='store_true', help='no progress')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f'--out: there is no folder {args.out.parent}')
    report = measure(args)
    print(
        f'{args.objective}, batch {args.batch}: peak '
        f'{report["peak_bytes"] / GIB:.2f} GiB, of which inputs '
        f'{report["inputs_bytes"] / GIB:.2f}, their gradients '
        f'{report["gradients_bytes"] / GIB:.2f}, the process before them '
        f'{report["before_inputs_bytes"] / GIB:.2f}; '
        f'{report["seconds"]:.1f} s, forward '
        f'{report["forward_seconds"]:.1f} s, '
        f'{report["pairs_per_second"]:.0f} scored pairs/s'
    )
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
