"""A training process is killed again and again, and loses nothing."""

import json
import os
import random
import signal
import time

from mmengine.hooks import Hook

from sparc_vlm import files
from sparc_vlm.engine.checkpoint import whole_checkpoints
from tests.test_engine import children, tiny

STEPS = 40


class Slow(Hook):
    def __init__(self, seconds):
        self.seconds = seconds

    def after_train_iter(self, runner, batch_idx, **rest):
        time.sleep(self.seconds)


def train(folder, slow):
    """Slow steps, and a checkpoint every second one that is slow to write.

    A kill is as likely to hit the writing as the computing.
    """
    write = files._Recorder.write

    def slowly(self, data):
        half = len(data) // 2
        write(self, memoryview(data)[:half])
        time.sleep(slow)
        write(self, memoryview(data)[half:])
        return len(data)

    files._Recorder.write = slowly
    runner = tiny.build(
        folder,
        resume=True,
        **{
            'train_cfg.max_iters': STEPS,
            'default_hooks.checkpoint.interval': 2,
            'train_dataloader': [
                dict(type='TinyLoader', seed=1),
                dict(type='TinyLoader', seed=2),
            ],
        },
    )
    runner.register_hook(Slow(slow))
    runner.train()


def logged(folder):
    """Every loss and norm that was logged, by iteration, in all runs."""
    found = {}
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # the line that the kill cut off
                continue
            values = {
                key: value
                for key, value in entry.items()
                if 'time' not in key and key != 'pairs_per_second'
            }
            found.setdefault(entry['step'], []).append(values)
    return found


def test_killed_at_any_moment_the_losses_are_the_same(tmp_path):
    log = tmp_path / 'whole.log'
    whole = children.start(train, tmp_path / 'whole', 0, log=log)
    killed_in_writing = 0
    draw = random.Random(3)
    folder = tmp_path / 'killed'
    reached = []
    for number in range(4):
        log = tmp_path / f'{number}.log'
        process = children.start(train, folder, 0.01, log=log)
        children.wait_for('saved', log, process)
        time.sleep(draw.uniform(0.0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed_in_writing += bool(list(folder.glob('*.unfinished')))
        reached.append(next(whole_checkpoints(folder)).name)
        time.sleep(1.0)  # mmengine names its logs by the second
    log = tmp_path / 'last.log'
    children.finish(children.start(train, folder, 0, log=log), log)
    children.finish(whole, tmp_path / 'whole.log')

    assert len(set(reached)) == 4, 'each run must go on from the one before'
    assert killed_in_writing, 'no kill hit the writing: slow it down'
    assert not list(folder.glob('*.unfinished'))
    expected, found = logged(tmp_path / 'whole'), logged(folder)
    assert sorted(found) == sorted(expected) == list(range(1, STEPS + 1))
    assert sum(map(len, found.values())) > STEPS  # some were done twice
    for step, values in found.items():
        for value in values:
            assert value == expected[step][0], step
