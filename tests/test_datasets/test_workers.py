"""Signals to a whole process group leave data workers to their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from tests.test_datasets.test_loader import alive, make

pytestmark = pytest.mark.skipif(
    not hasattr(signal, 'sigtimedwait'), reason='the sender is not known here'
)
CONTEXT = multiprocessing.get_context('fork')


def workers_of(process):
    with open(f'/proc/{process}/task/{process}/children') as file:
        return [int(pid) for pid in file.read().split()]


def started():
    """Batches, after each of two workers gave one and so is set up."""
    batches = iter(make(num_workers=2))
    for _ in range(2):
        next(batches)
    return batches


def read_on(pipe, stopped):
    """A parent as training is: it notes the signal and goes on a while."""
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    batches = started()
    pipe.send(workers_of(os.getpid()))
    pipe.recv()
    assert stopped.is_set()
    for _ in range(20):
        next(batches)
    start = time.perf_counter()
    del batches
    pipe.send(time.perf_counter() - start)


def leave_open(pipe, fails):
    """Ends while the batches are still held, as after an error."""
    global held
    held = started()
    pipe.send(workers_of(os.getpid()))
    if fails:
        raise RuntimeError('on purpose')


def start(function, *args):
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=function, args=(there, *args))
    process.start()
    there.close()
    workers = here.recv()
    assert len(workers) == 2
    return process, here, workers


def all_end(workers, seconds):
    deadline = time.time() + seconds
    while any(alive(pid) for pid in workers):
        assert time.time() < deadline, 'workers do not end'
        time.sleep(0.05)


def test_a_group_is_told_to_stop_and_the_parent_goes_on():
    process, pipe, workers = start(read_on, CONTEXT.Event())
    os.killpg(process.pid, signal.SIGTERM)
    time.sleep(0.3)
    assert all(alive(pid) for pid in workers)
    pipe.send('go on')
    assert pipe.recv() < 3, 'closing a loader must not wait'
    process.join(10)
    assert process.exitcode == 0
    all_end(workers, 3)


@pytest.mark.parametrize('fails', [False, True])
def test_a_process_ends_with_its_batches_held(fails, capfd):
    process, _, workers = start(leave_open, fails)
    process.join(10)
    assert process.exitcode == int(fails)
    all_end(workers, 3)
    assert 'exited unexpectedly' not in capfd.readouterr().err


def test_the_parent_may_end_a_worker_and_nobody_else():
    process, pipe, workers = start(read_on, CONTEXT.Event())
    os.kill(workers[0], signal.SIGTERM)  # of a stranger
    time.sleep(0.3)
    assert alive(workers[0])
    process.kill()
    process.join()
    all_end(workers, 10)
