"""The processes that torchrun started, on GPUs or on a CPU.

They meet here, and agree here: what depends on the disk is looked up by the
first one alone, for two processes may find two different things.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from mmengine import dist

from sparc_vlm.errors import UsageError

T = TypeVar('T')
PATIENCE = 4 * 3600
"""Seconds that processes wait for each other: one of them may validate."""


def join_processes(timeout: float = PATIENCE) -> None:
    """Joins the other processes, once; alone, nothing happens.

    mmengine's own set-up asks for a GPU; on a CPU processes meet through
    gloo.

    Args:
        timeout: Seconds to wait for each other.
    """
    if 'WORLD_SIZE' not in os.environ or dist.is_distributed():
        return
    if torch.cuda.is_available():
        dist.init_dist('pytorch', 'nccl', timeout=timeout)
    else:
        limit = timedelta(seconds=timeout)
        torch.distributed.init_process_group('gloo', timeout=limit)


def launcher(wanted: str = 'none') -> str:
    """mmengine's name for what started the processes: torchrun, or nothing.

    Args:
        wanted: What the config says.

    Raises:
        UsageError: It asks for another one, or srun started several
            processes, each of which would train all by itself.
    """
    if 'WORLD_SIZE' in os.environ:
        return 'pytorch'
    several = int(os.environ.get('SLURM_STEP_NUM_TASKS', 1)) > 1
    if several or wanted not in ('none', 'pytorch'):
        started = 'srun' if several else f'launcher={wanted!r}'
        raise UsageError(
            f'{started}: processes are started by torchrun, so start one '
            'task a machine and in it torchrun --nproc-per-node N '
            'tools/train.py ...'
        )
    return 'none'


def from_first(ask: Callable[[], T]) -> T:
    """What a function returns in the first process, for every process.

    Args:
        ask: Called in the first process only. An error that it raises is
            raised in every process.
    """
    answer, error = None, None
    if dist.is_main_process():
        try:
            answer = ask()
        except Exception as raised:  # or the others would wait for ever
            error = raised
    parcel = [answer, error]
    dist.broadcast_object_list(parcel)
    answer, error = parcel
    if error is not None:
        raise error
    return answer
