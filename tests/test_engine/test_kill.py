"""A training process is killed again and again, and loses nothing."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from sparc_vlm.engine.checkpoint import whole_checkpoints

STEPS = 40

# Slow steps, a checkpoint after each second one, and writing it takes long:
# a kill is as likely to hit the writing as the computing.
TRAIN = """
import sys, time
import torch
torch.set_num_threads(1)
from mmengine.hooks import Hook
from sparc_vlm.engine import files
from tests.test_engine import tiny

folder, slow = sys.argv[1], float(sys.argv[2])
write = files._Recorder.write

def slowly(self, data):
    half = len(data) // 2
    write(self, memoryview(data)[:half])
    time.sleep(slow / 10)
    write(self, memoryview(data)[half:])
    return len(data)

files._Recorder.write = slowly

class Slow(Hook):
    def after_train_iter(self, runner, batch_idx, **rest):
        time.sleep(slow / 10)

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
runner.register_hook(Slow())
print('ready', flush=True)
runner.train()
""".replace('STEPS', str(STEPS))


def start(folder, slow):
    return subprocess.Popen(
        [sys.executable, '-c', TRAIN, str(folder), str(slow)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
    )


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


def wait_for(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f'{text} never came')


def test_killed_at_any_moment_the_losses_are_the_same(tmp_path):
    whole = start(tmp_path / 'whole', 0)
    killed_in_writing = 0
    draw = random.Random(3)
    folder = tmp_path / 'killed'
    reached = []
    for _ in range(3):
        process = start(folder, 0.1)
        wait_for(process, 'saved')
        time.sleep(draw.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        killed_in_writing += bool(list(folder.glob('*.unfinished')))
        reached.append(next(whole_checkpoints(folder)).name)
    last = start(folder, 0)
    output, _ = last.communicate()
    assert last.returncode == 0, output
    whole_output, _ = whole.communicate()
    assert whole.returncode == 0, whole_output

    assert len(set(reached)) == 3, 'each run must go on from the one before'
    assert killed_in_writing, 'no kill hit the writing: slow it down'
    assert not list(folder.glob('*.unfinished'))
    expected, found = logged(tmp_path / 'whole'), logged(folder)
    assert sorted(found) == sorted(expected) == list(range(1, STEPS + 1))
    assert sum(map(len, found.values())) > STEPS  # some were done twice
    for step, values in found.items():
        for value in values:
            assert value == expected[step][0], step
