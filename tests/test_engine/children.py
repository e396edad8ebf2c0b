"""Fresh processes to train in, and to kill.

They come from a server that has imported everything once, so that a test
with many of them does not spend its time importing.
"""

from __future__ import annotations

import multiprocessing
import os
import time

import torch

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['tests.test_engine.tiny'])


def start(target, *args, log, environment=None):
    """Runs a function of a module in a process; its output goes to a file."""
    process = CONTEXT.Process(
        target=_child, args=(target, args, str(log), environment or {})
    )
    process.start()
    return process


def _child(target, args, log, environment):
    with open(log, 'a') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    target(*args)


def wait_for(text, log, process, seconds=60):
    """Waits until a process has written something."""
    for _ in range(seconds * 100):
        if log.exists() and text in log.read_text():
            return
        assert process.is_alive(), log.read_text()
        time.sleep(0.01)
    raise AssertionError(f'{text} never came')


def finish(process, log, seconds=120):
    """Waits for the end of a process that must go well."""
    process.join(seconds)
    assert process.exitcode == 0, log.read_text()
