"""Runs of several processes that meet through gloo, as torchrun's do."""

from __future__ import annotations

import os
import socket

from tests.test_engine import children


def rank():
    """Number of this process, 0 where it is alone."""
    return int(os.environ.get('RANK', 0))


def world():
    """Number of processes."""
    return int(os.environ.get('WORLD_SIZE', 1))


def start_all(folder, target, *args, count=2):
    """Calls a function of a module in each process.

    Returns what each of them printed.
    """
    folder.mkdir(exist_ok=True, parents=True)
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    started = []
    for number in range(count):
        environment = {
            'RANK': str(number),
            'LOCAL_RANK': str(number),
            'WORLD_SIZE': str(count),
            'MASTER_ADDR': 'localhost',
            'MASTER_PORT': str(port),
        }
        log = folder / f'{number}.log'
        process = children.start(
            target, folder, *args, log=log, environment=environment
        )
        started.append((process, log))
    for process, log in started:
        children.finish(process, log, seconds=400)
    return [log.read_text() for _, log in started]
