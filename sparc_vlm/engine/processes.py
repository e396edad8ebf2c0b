"""Joining the processes that torchrun started, on GPUs or on a CPU."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from mmengine import dist

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
