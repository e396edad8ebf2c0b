"""Losses that take turns: which sides there are, and how often each runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.caption_lengths import read_lengths
from benchmarks.loss_measures import OBJECTIVES
from benchmarks.loss_process import Ended, Side, estimate

OURS = 'ours'
PEERS = dict(plain=tuple(OBJECTIVES)) | {'x-clip': ('filip',)}
"""Which objectives each has."""
GIB = 2**30
SCALE = 1 / 0.07
# Work that is over sooner is repeated within a round, for the clock's sake.
LEAST_SECONDS = 0.2
Say = Callable[[str], None]


def draw_lengths(args: argparse.Namespace, batch: int) -> list[int]:
    """Real tokens of each caption of a batch.

    Args:
        args: Of the command line.
        batch: Captions.
    """
    if args.tokens is not None:
        return [args.tokens] * batch
    counted = torch.tensor(read_lengths(args.lengths))
    generator = torch.Generator().manual_seed(args.seed)
    rows = torch.randint(len(counted), (batch,), generator=generator)
    return counted[rows].clamp(1, args.longest).tolist()


def shapes(
    args: argparse.Namespace, objective: str, lengths: list[int]
) -> argparse.Namespace:
    """What one case is made of.

    Args:
        args: Of the command line.
        objective: Its name; one that looks at global embeddings only gets
            next to no patches and tokens, as in the pretrainer.
        lengths: Real tokens of each caption.
    """
    is_local = OBJECTIVES[objective].is_local
    case = dict(objective=objective, batch=len(lengths), scale=SCALE)
    case['tokens'] = max(lengths) if is_local else 1
    case['patches'] = args.patches if is_local else 1
    return argparse.Namespace(**{**vars(args), **case})


def measure(
    args: argparse.Namespace, objective: str, batch: int, say: Say
) -> dict[str, dict[str, Any]]:
    """All sides of an objective at a batch, in turns.

    Args:
        args: Of the command line.
        objective: Its name.
        batch: Pairs.
        say: Told what is being done.

    Returns:
        For each side what was found, or why it was not run.
    """
    lengths = draw_lengths(args, batch)
    case = shapes(args, objective, lengths)
    found: dict[str, dict[str, Any]] = {OURS: {}}
    for peer in args.peers:
        if objective in PEERS[peer]:
            say(f'{objective}, batch {batch}: memory of {peer}')
            needed = estimate(peer, case, lengths)
            found[peer] = dict(estimated_bytes=needed)
            if needed > args.peer_gib * GIB:
                found[peer]['left_out'] = 'does not fit'
    sides = {
        name: Side(name, case, lengths)
        for name, side in found.items()
        if 'left_out' not in side
    }
    try:
        _take_turns(args, sides, found, lambda name: say(
            f'{objective}, batch {batch}: {name}'
        ))  # fmt: skip
    finally:
        for side in sides.values():
            side.close()
    return found


def _take_turns(
    args: argparse.Namespace,
    sides: dict[str, Side],
    found: dict[str, dict[str, Any]],
    say: Say,
) -> None:
    """Adds what each side needed to `found`."""
    rounds: dict[str, int] = {}
    repeats: dict[str, int] = {}
    for name, side in sides.items():
        say(f'{name}, warming up')
        try:
            first = side.ask(1)
        except Ended:
            found[name]['left_out'] = 'ran out of memory'
            continue
        seconds = first.pop('seconds')
        found[name] |= first | dict(seconds=[])
        rounds[name] = args.rounds
        repeats[name] = 1 + int(LEAST_SECONDS / seconds)
        if seconds > args.slow:
            # What takes so long needs no warming up: it counts.
            found[name]['seconds'].append(seconds)
            rounds[name] = int(args.rounds * args.slow / seconds) - 1
    for number in range(args.rounds):
        for name in rounds:
            if number < rounds[name]:
                say(f'{name}, round {number + 1}')
                seconds = sides[name].ask(repeats[name])['seconds']
                found[name]['seconds'].append(seconds)


class TimeLeft:
    """Foretells a run from what its smaller batches took.

    Args:
        cases: (objective, batch) of all that is to be done.
    """

    def __init__(self, cases: list[tuple[str, int]]) -> None:
        self.left = list(cases)
        self.took: dict[str, tuple[int, float]] = {}

    def done(self, objective: str, batch: int, seconds: float) -> None:
        """Notes what a case took."""
        self.left.remove((objective, batch))
        self.took[objective] = batch, seconds

    def seconds(self) -> float | None:
        """Of all that is left; None before each objective ran once."""
        if any(objective not in self.took for objective, _ in self.left):
            return None
        total = 0.0
        for objective, batch in self.left:
            smaller, took = self.took[objective]
            total += took * (batch / smaller) ** 2
        return total
