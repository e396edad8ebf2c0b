"""Runs a function in several real processes that meet through gloo."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from tests.test_engine import children


def run_processes(count, function, *args):
    """Returns what the function returned in each process, by rank.

    The function stands in a module; it and its arguments travel by name and
    by value, what it returns as tensors.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = []
        for rank in range(count):
            log = folder / f'{rank}.log'
            log.touch()
            process = children.start(
                _joined, folder, rank, count, function, args, log=log
            )
            started.append((process, log))
        for process, log in started:
            children.finish(process, log)
        return [
            torch.load(folder / f'{rank}.pt', weights_only=True)
            for rank in range(count)
        ]


def _joined(folder, rank, count, function, args):
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/store',
        rank=rank,
        world_size=count,
    )
    torch.save(function(*args), folder / f'{rank}.pt')
    torch.distributed.destroy_process_group()
