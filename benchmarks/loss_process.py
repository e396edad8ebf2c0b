"""One way of computing one loss, in a process of its own.

Its peak memory is then nobody else's. The process waits while others have
their turn; it comes from a server that has imported everything before.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.loss_measures import (
    build_objective,
    forward_backward,
    input_bytes,
    peak_memory,
    random_pairs,
    sum_of_losses,
)
from benchmarks.plain_losses import PLAIN
from sparc_vlm.cost.memory import MemoryTracker
from sparc_vlm.engine.heap import keep_heap
from sparc_vlm.structures import PairEmbeddings

Loss = Callable[[PairEmbeddings], Tensor]
# Batches that the memory of larger ones is foretold from.
PROBES = 4, 8, 16


class Ended(Exception):  # noqa: N818 - expected of those that need too much
    """The process was killed, as systems do that run out of memory."""


def build(side: str, args: argparse.Namespace) -> tuple[Loss, list[Tensor]]:
    """A way of computing a loss, and its parameters.

    FILIP drops no tokens, on any side: it would be another loss each time.

    Args:
        side: 'ours', 'plain' or 'x-clip'.
        args: Of the command line, with `objective` and `scale`.
    """
    if side == 'x-clip':
        from benchmarks.x_clip_loss import XClipLoss

        peer = XClipLoss(args.width, args.scale).to(args.device).train()
        return peer, list(peer.parameters())
    options = dict(dropped=0.0) if args.objective == 'filip' else {}
    objective = build_objective(
        args.objective, args.width, args.budget, **options
    )
    objective = objective.to(args.device).train()
    weights = dict(objective.named_parameters())
    if side == 'ours':
        return lambda pairs: sum_of_losses(objective(pairs)), [
            *weights.values()
        ]
    plain = PLAIN[args.objective]
    return lambda pairs: plain(pairs, weights), list(weights.values())


class Side:
    """A process that runs a loss whenever it is asked to.

    Args:
        side: See `build`.
        args: Of the command line, with `objective` and `batch`.
        lengths: Real tokens of each caption.
    """

    def __init__(
        self, side: str, args: argparse.Namespace, lengths: list[int]
    ) -> None:
        context = _server()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, side, args, lengths), daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, repeats: int) -> dict[str, Any]:
        """Has the loss computed, forward and backward.

        Args:
            repeats: How often in a row.

        Returns:
            Seconds of one time, the loss, and what memory was needed so far:
            the first time with the system's usual heap, then with one that
            is kept.

        Raises:
            Ended: The process was killed.
            RuntimeError: It failed; why is on the terminal.
        """
        try:
            self._connection.send(repeats)
            return self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            # A negative code is that of a signal, here the system's.
            if (self._process.exitcode or 0) < 0:
                raise Ended from None
            raise RuntimeError('a loss failed, see above') from None

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.join()


def estimate(side: str, args: argparse.Namespace, lengths: list[int]) -> float:
    """Bytes that a loss would hold at its peak, found without holding them.

    Tensors are counted at a few small batches, after each operation. What is
    held then grows with the square of the batch, with the batch, or not at
    all; so it is known for any batch, and with it the operation at which
    most will be held.

    Args:
        side: See `build`.
        args: Of the command line, with `objective` and `batch`.
        lengths: Real tokens of each caption.
    """
    with ProcessPoolExecutor(1, mp_context=_server()) as pool:
        return pool.submit(_estimate, side, args, lengths).result()


def _estimate(
    side: str, args: argparse.Namespace, lengths: list[int]
) -> float:
    torch.set_num_threads(1)
    held = []
    for batch in PROBES:
        few = argparse.Namespace(**{**vars(args), 'batch': batch})
        some = [lengths[row % len(lengths)] for row in range(batch)]
        loss, _ = build(side, few)
        with _Steps() as tracker:
            pairs = random_pairs(few, some)
            forward_backward(loss, pairs, args.autocast)
        held.append(tracker.steps)
    parabolas = np.polyfit(PROBES, np.array(held), 2)
    return float(np.polyval(parabolas, args.batch).max())


class _Steps(MemoryTracker):
    """Notes what is held after each operation."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def __torch_dispatch__(self, *given: Any, **more: Any) -> Any:
        made = super().__torch_dispatch__(*given, **more)
        self.steps.append(self.held.total())
        return made


def _serve(
    connection: Connection,
    side: str,
    args: argparse.Namespace,
    lengths: list[int],
) -> None:
    """Computes a loss for as long as somebody asks."""
    if args.threads:
        torch.set_num_threads(args.threads)
    loss, parameters = build(side, args)
    # Libraries load what they need at the first call.
    tiny = dict(batch=2, patches=2, tokens=2)
    tiny = argparse.Namespace(**{**vars(args), **tiny})
    forward_backward(loss, random_pairs(tiny), args.autocast)
    on_gpu = torch.device(args.device).type == 'cuda'
    before = 0 if on_gpu else peak_memory(args.device)
    pairs = random_pairs(args, lengths)
    while True:
        try:
            repeats = connection.recv()
        except EOFError:
            return
        seconds = 0.0
        for _ in range(repeats):
            _forget(pairs, parameters)
            value, took, _ = forward_backward(loss, pairs, args.autocast)
            seconds += took
        inputs, gradients = input_bytes(pairs)
        found = dict(
            seconds=seconds / repeats,
            loss=value.item(),
            peak_bytes=peak_memory(args.device) - before,
            inputs_bytes=inputs,
            gradients_bytes=gradients,
            threads=torch.get_num_threads(),
        )
        connection.send(found)
        # As training does; only now, since it takes more memory.
        keep_heap()


def _forget(pairs: PairEmbeddings, parameters: Iterable[Tensor]) -> None:
    """Drops gradients of the time before."""
    given = [value for value in vars(pairs).values() if value is not None]
    for tensor in [*given, *parameters]:
        tensor.grad = None


def _server() -> Any:
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['benchmarks.loss_process'])
    return context
