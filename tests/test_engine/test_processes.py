"""Two real processes, through gloo."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sparc_vlm.engine.checkpoint import read_checkpoint
from tests.test_engine.tiny import TinyLoader, build

RUN = """
import json, os, sys
import torch
torch.set_num_threads(1)
from mmengine import dist
from mmengine.hooks import Hook
from sparc_vlm.registry import LOADERS, MODELS
from tests.test_engine import tiny

folder, options = sys.argv[1], json.loads(sys.argv[2])
rank = int(os.environ['RANK'])

@LOADERS.register_module()
class RankLoader(tiny.TinyLoader):
    def batch(self, number):
        return super().batch(2 * number + rank)

@MODELS.register_module()
class PoisonOne(tiny.TinyModel):
    '''Not finite in process 1 alone, and only in the loss.'''
    def forward(self, images, target, mode='tensor'):
        losses = super().forward(images, target, mode)
        if mode == 'loss' and rank == 1 and self.calls == 3:
            losses['loss_bad'] = torch.tensor(float('nan'))
        return losses

class Exchanges(Hook):
    def before_train(self, runner):
        self.syncs = []
        def note(state, bucket):
            self.syncs.append(runner.iter)
            from torch.distributed.algorithms.ddp_comm_hooks import (
                default_hooks,
            )
            return default_hooks.allreduce_hook(None, bucket)
        runner.model.register_comm_hook(None, note)

runner = tiny.build(folder, launcher='pytorch', **options)
hook = Exchanges()
runner.register_hook(hook)
runner.train()
state = runner.model.module.state_dict()
result = {
    'weights': {k: v.tolist() for k, v in state.items()},
    'skipped': runner.optim_wrapper.skipped,
    'exchanges': len(hook.syncs),
    'iter': runner.iter,
    'read': [l.read for l in runner.train_dataloader.loaders],
    'validated': 'val/tiny/weight' in runner.message_hub.log_scalars,
}
with open(f'{folder}/rank{rank}.json', 'w') as file:
    json.dump(result, file)
"""


def run(folder, options):
    """Two processes; returns what each had at the end."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        environment = {
            **os.environ,
            'RANK': str(rank),
            'LOCAL_RANK': str(rank),
            'WORLD_SIZE': '2',
            'MASTER_ADDR': 'localhost',
            'MASTER_PORT': str(port),
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, '-c', RUN, str(folder), json.dumps(options)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=Path(__file__).parents[2],
            )
        )
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    files = [folder / f'rank{rank}.json' for rank in range(2)]
    return [json.loads(file.read_text()) for file in files], outputs


LOADER = {'type': 'RankLoader'}


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """Two datasets, a loss that is bad in one process, validation."""
    folder = tmp_path_factory.mktemp('first')
    options = {
        'model.type': 'PoisonOne',
        'train_dataloader': [LOADER, {**LOADER, 'seed': 5}],
        'val_cfg': {'type': 'TaskLoop'},
        'val_dataloader': {'batch_size': 1},
        'val_evaluator': [{'type': 'TinyTask'}],
        'train_cfg.val_interval': 4,
    }
    return folder, *run(folder, options)


def test_processes_agree_on_a_step_to_leave_out(first):
    _, results, outputs = first
    assert [r['skipped'] for r in results] == [1, 1]
    assert results[0]['weights'] == results[1]['weights']
    assert 'in another process' in outputs[0]


def test_gradients_are_exchanged_once_an_update(first):
    _, results, _ = first
    assert [r['exchanges'] for r in results] == [8, 8]


def test_one_process_validates_and_all_know_the_numbers(first):
    folder, results, outputs = first
    assert all(r['validated'] for r in results)
    assert (folder / 'val' / '8' / 'tiny.json').is_file()
    assert 'tiny took' in outputs[0]
    assert 'tiny took' not in outputs[1]


def test_data_of_both_processes_are_reported(first):
    _, _, outputs = first
    assert 'in the whole run, data: 128 pairs' in outputs[0]


def test_the_place_of_every_process_is_saved(first):
    folder, _, _ = first
    places = read_checkpoint(folder / 'iter_3.pth')['loop']
    assert [p['loaders'] for p in places] == [[{'position': 3}] * 2] * 2


def test_two_processes_resume_where_they_were(first, tmp_path):
    folder, whole, _ = first
    (folder / 'iter_3.pth').rename(tmp_path / 'iter_3.pth')
    options = {
        # Its third call, the bad one, is not counted again: it comes later.
        'model.type': 'TinyModel',
        'train_dataloader': [LOADER, {**LOADER, 'seed': 5}],
        'resume': True,
    }
    results, _ = run(tmp_path, options)
    assert all(r['read'] == [[3, 4, 5, 6, 7]] * 2 for r in results)
    assert results[0]['weights'] == results[1]['weights']
    assert results[0]['iter'] == whole[0]['iter'] == 8


def test_two_processes_train_as_one_with_both_batches(tmp_path):
    """Dropout off, full precision: the mean of gradients is the joint one."""
    options = {
        'optim_wrapper.dtype': None,
        'train_dataloader': LOADER,
        'train_cfg.max_iters': 4,
        'model.dropout': 0.0,
    }
    results, _ = run(tmp_path / 'two', options)

    class Both(TinyLoader):
        def batch(self, number):
            parts = [super(Both, self).batch(2 * number + r) for r in (0, 1)]
            return {
                key: torch.cat([part[key] for part in parts])
                for key in ('images', 'target')
            }

    options.pop('train_dataloader')
    runner = build(tmp_path / 'one', **options)
    runner._train_dataloader = Both()
    runner.train()
    for key, value in runner.model.state_dict().items():
        theirs = torch.tensor(results[0]['weights'][key])
        torch.testing.assert_close(value, theirs)
