"""Two real processes, through gloo."""

import errno
import json
import shutil

import pytest
import torch
from mmengine.hooks import Hook
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import (
    allreduce_hook,
)

from sparc_vlm.engine import SafeCheckpointHook, run_files
from sparc_vlm.engine.checkpoint import read_checkpoint
from sparc_vlm.engine.processes import launcher
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import LOADERS, MODELS
from tests.test_engine.ranks import rank, start_all
from tests.test_engine.tiny import TinyLoader, TinyModel, build


@LOADERS.register_module(force=True)
class RankLoader(TinyLoader):
    """Process r of two takes batch 2 n + r."""

    def batch(self, number):
        return super().batch(2 * number + rank())


@MODELS.register_module(force=True)
class PoisonOne(TinyModel):
    """Not finite in process 1 alone, and only in the loss."""

    def forward(self, images, target, mode='tensor'):
        losses = super().forward(images, target, mode)
        if mode == 'loss' and rank() == 1 and self.calls == 3:
            losses['loss_bad'] = torch.tensor(float('nan'))
        return losses


class Exchanges(Hook):
    """Notes each exchange of gradients."""

    def __init__(self):
        self.count = 0

    def before_train(self, runner):
        def note(state, bucket):
            self.count += 1
            return allreduce_hook(None, bucket)

        runner.model.register_comm_hook(None, note)


def train(folder, options):
    runner = build(folder, launcher='pytorch', **options)
    exchanges = Exchanges()
    runner.register_hook(exchanges)
    runner.train()
    weights = runner.model.module.state_dict()
    result = {
        'weights': {key: value.tolist() for key, value in weights.items()},
        'skipped': runner.optim_wrapper.skipped,
        'exchanges': exchanges.count,
        'iter': runner.iter,
        'read': [loader.read for loader in runner.train_dataloader.loaders],
        'validated': 'val/tiny/weight' in runner.message_hub.log_scalars,
    }
    (folder / f'rank{rank()}.json').write_text(json.dumps(result))


def run(folder, options, target=train):
    """Two processes; returns what each had at the end, and its output."""
    outputs = start_all(folder, target, options)
    results = [
        json.loads((folder / f'rank{number}.json').read_text())
        for number in range(2)
    ]
    return results, outputs


def train_with_a_full_disk(folder, options):
    """The first process cannot write iter_3.pth nor the first best one."""
    real = run_files.write_checkpoint

    def full(checkpoint, path):
        if path.name in ('iter_3.pth', 'best_tiny_weight_iter_2.pth'):
            raise OSError(errno.ENOSPC, 'No space left on device')
        return real(checkpoint, path)

    run_files.write_checkpoint = full
    try:
        runner = build(folder, launcher='pytorch', **options)
        runner.train()
    finally:
        run_files.write_checkpoint = real
    hook = next(h for h in runner.hooks if isinstance(h, SafeCheckpointHook))
    result = {
        'saved': hook._saved_at,
        'best': hook._best,
        'last': runner.message_hub.get_info('last_ckpt'),
    }
    (folder / f'rank{rank()}.json').write_text(json.dumps(result))


def train_in_a_folder_of_its_own(folder, options):
    """The second process looks for checkpoints in an empty folder."""
    place = folder if rank() == 0 else folder / 'other'
    runner = build(place, launcher='pytorch', **options)
    runner.train()
    result = {'read': runner.train_dataloader.loaders[0].read}
    (folder / f'rank{rank()}.json').write_text(json.dumps(result))


LOADER = {'type': 'RankLoader'}


VALIDATED = {
    'val_cfg': {'type': 'TaskLoop'},
    'val_dataloader': {'batch_size': 1},
    'val_evaluator': [{'type': 'TinyTask'}],
}


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """Two datasets, a loss that is bad in one process, validation."""
    folder = tmp_path_factory.mktemp('first')
    options = {
        'model.type': 'PoisonOne',
        'train_dataloader': [LOADER, {**LOADER, 'seed': 5}],
        **VALIDATED,
        'train_cfg.val_interval': 4,
    }
    return folder, *run(folder, options)


def test_processes_agree_on_a_step_to_leave_out(first):
    _, results, outputs = first
    assert [r['skipped'] for r in results] == [1, 1]
    assert results[0]['weights'] == results[1]['weights']
    assert 'in another process' in outputs[0]


def test_gradients_are_exchanged_once_an_update(first, tmp_path):
    _, results, _ = first
    assert [r['exchanges'] for r in results] == [8, 8]
    rounds = {
        'train_dataloader': [LOADER, {**LOADER, 'seed': 5}],
        'optim_wrapper.accumulative_counts': 3,
        'train_cfg.max_iters': 4,
    }
    results, _ = run(tmp_path, rounds)
    assert [r['exchanges'] for r in results] == [4, 4]
    assert all(r['read'] == [[*range(12)]] * 2 for r in results)


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


def test_the_first_process_chooses_what_is_resumed(first, tmp_path):
    folder, _, _ = first
    shutil.copy(folder / 'iter_6.pth', tmp_path / 'iter_6.pth')
    options = {
        'train_dataloader': [LOADER, {**LOADER, 'seed': 5}],
        'resume': True,
    }
    results, _ = run(tmp_path, options, train_in_a_folder_of_its_own)
    assert [r['read'] for r in results] == [[6, 7]] * 2


def test_a_full_disk_is_known_to_every_process(tmp_path):
    options = {
        **VALIDATED,
        'train_cfg.val_interval': 2,
        'train_cfg.max_iters': 5,
        'default_hooks.checkpoint.save_last': False,
        'default_hooks.checkpoint.save_best': 'tiny/weight',
    }
    results, outputs = run(tmp_path, options, train_with_a_full_disk)
    assert results[0] == results[1]
    assert results[0]['saved'] is results[0]['last'] is None
    assert results[0]['best']['iter'] == 4
    assert 'iter_3.pth could not be written' in outputs[0]


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


@pytest.mark.parametrize(
    ('wanted', 'told', 'said'),
    [
        ('slurm', {}, "launcher='slurm': processes are started by torchrun"),
        ('none', {'SLURM_STEP_NUM_TASKS': '8'}, 'srun: processes are started'),
    ],
)
def test_other_launchers_are_refused(monkeypatch, wanted, told, said):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=said):
        launcher(wanted)


@pytest.mark.parametrize('tasks', ['1', '2'])
def test_torchrun_is_seen(monkeypatch, tasks):
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', tasks)
    monkeypatch.setenv('WORLD_SIZE', '4')
    assert launcher() == 'pytorch'
    monkeypatch.delenv('WORLD_SIZE')
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '1')
    assert launcher('pytorch') == 'none'
