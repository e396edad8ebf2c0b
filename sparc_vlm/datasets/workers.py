"""What a data worker must do to be a good guest in a training run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

CAN_WAIT = hasattr(signal, 'sigtimedwait')
"""Whether it can be known who sent a signal; not so on macOS."""


def start_batches(loader: DataLoader) -> Iterator[Any]:
    """Starts the workers of a loader with SIGTERM blocked.

    They inherit the block with every thread that their libraries start: one
    thread without it would be enough to end a worker.

    Args:
        loader: Its `worker_init_fn` is `start_worker`.

    Returns:
        The loader's batches. In the calling process SIGTERM does what it did
        before; one that came meanwhile comes now.
    """
    if not CAN_WAIT:
        return iter(loader)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(worker_id: int) -> None:
    """Set-up of a worker process, for `DataLoader(worker_init_fn=...)`.

    One thread a worker, since the workers share the machine with training.
    Ctrl-C and SIGTERM reach all processes of a group. What they mean is left
    to the parent, which finishes its step, saves, and then ends the workers;
    one whose parent was killed ends by itself.

    Args:
        worker_id: Not used.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if CAN_WAIT:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(
        target=_end_with_parent, args=(os.getppid(),), daemon=True
    ).start()


def _end_with_parent(parent: int) -> None:
    # An orphan gets another parent. Left alone it could wait for ever to
    # hand over a batch that nobody takes.
    while os.getppid() == parent:
        if not CAN_WAIT:
            time.sleep(1)
            continue
        got = signal.sigtimedwait({signal.SIGTERM}, 1)
        if got is not None and got.si_pid == parent:
            # torch and Python end workers so, and then wait for their end.
            os._exit(0)
    os._exit(1)
