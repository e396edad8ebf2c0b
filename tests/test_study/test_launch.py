import mmap
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from sparc_vlm.study import launch
from sparc_vlm.study.launch import LoggedLaunch, last_lines
from sparc_vlm.study.memory import high_water, peak_memory
from sparc_vlm.study.progress import steps_done


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(launch, 'SECONDS_BETWEEN_LOOKS', 0.02)


def python(code):
    return [sys.executable, '-c', code]


def test_output_goes_into_a_log_and_the_code_comes_back(tmp_path):
    run = LoggedLaunch(tmp_path / 'run', lambda done: None, threads=3)
    code = 'import os; print(os.environ["OMP_NUM_THREADS"]); print(); exit(5)'
    assert run(python(code), tmp_path) == 5
    assert last_lines(tmp_path / 'run') == ['3']
    assert last_lines(tmp_path / 'not there') == []


def test_how_far_it_is_and_what_it_holds(tmp_path):
    told = []
    log = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"step": 20}\n{"step": 40}\n{"ste')
    ours = np.ones(40_000_000)  # what the parent holds does not count
    run = LoggedLaunch(tmp_path, told.append)
    code = 'import time; held = b"x" * 60_000_000; time.sleep(0.5)'
    assert run(python(code), tmp_path) == 0
    assert set(told) == {40}
    assert run.peak_bytes is None or 6e7 < run.peak_bytes < 1.6e8
    assert ours.nbytes > 3e8


def test_no_step_before_the_first(tmp_path):
    assert steps_done(tmp_path) == 0


def test_it_is_stopped_and_waited_for(tmp_path):
    run = LoggedLaunch(tmp_path, lambda done: None)
    code = (
        'import signal, time\n'
        'def end(*_):\n    print("saved", flush=True)\n    raise SystemExit\n'
        'signal.signal(signal.SIGTERM, end)\n'
        'print("begun", flush=True)\ntime.sleep(60)'
    )

    class Late(threading.Event):
        """Set once the child can take the signal."""

        def is_set(self):
            return last_lines(tmp_path) == ['begun']

    run.stop = Late()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(python(code), tmp_path)
    assert time.monotonic() - start < 30
    assert last_lines(tmp_path) == ['begun', 'saved']


@pytest.mark.skipif(high_water() is None, reason='only Linux tells')
def test_peak_of_a_block():
    with peak_memory() as before:
        pass
    with peak_memory() as peak:
        # Asked of the system itself: a heap may have so much to spare.
        held = mmap.mmap(-1, 160_000_000)
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        held.close()
    assert 1.4e8 < peak.bytes - before.bytes < 1.8e8
    with peak_memory() as after:
        pass
    # What was given back does not count for what comes next.
    assert after.bytes < peak.bytes - 1e8


def test_nobody_tells_of_a_process_that_has_ended():
    process = subprocess.Popen(python('pass'))
    process.wait()
    assert high_water(process.pid) is None
