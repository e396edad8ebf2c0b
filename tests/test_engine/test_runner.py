import errno
import json
import os
import signal

import pytest
import torch
from mmengine import dist
from mmengine.hooks import EMAHook, Hook
from safetensors.torch import save_file

from sparc_vlm.engine import (
    CheckpointError,
    RefusedCheckpointError,
    SafeCheckpointHook,
    run_files,
)
from sparc_vlm.engine.checkpoint import (
    OWN,
    read_checkpoint,
    write_checkpoint,
)
from sparc_vlm.engine.snapshot import place_for_all, restore_schedulers
from sparc_vlm.hub import ExportHook
from sparc_vlm.registry import HOOKS
from tests.test_engine.tiny import Lines, build, history

VALIDATED = {
    'val_cfg': dict(type='TaskLoop'),
    'val_dataloader': dict(batch_size=5),
    'val_evaluator': [dict(type='TinyTask')],
    'train_cfg.val_interval': 2,
}


class StopAt(Hook):
    """Ends training as a kill would: nothing is saved on the way out."""

    priority = 'LOWEST'

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, **rest):
        if batch_idx + 1 == self.iteration:
            raise KeyboardInterrupt


def interrupted(folder, iteration, **changes):
    runner = build(folder, **changes)
    runner.register_hook(StopAt(iteration))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    runner.hooks[-2].stop.ignore()
    return runner


def checkpoints(folder):
    return sorted(p.name for p in folder.glob('*.pth'))


@pytest.mark.parametrize('iteration', [3, 4, 5, 7])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, iteration):
    whole = build(tmp_path / 'a', **{'train_dataloader.broken': (1, 5)})
    whole.train()
    changes = {'train_dataloader.broken': (1, 5)}
    interrupted(tmp_path / 'b', iteration, **changes)
    resumed = build(tmp_path / 'b', resume=True, **changes)
    lines = Lines(resumed)
    resumed.train()
    for key in ('loss', 'grad_norm', 'lr', 'temperature'):
        key = f'train/{key}'
        assert history(resumed, key) == history(whole, key)
    for mine, theirs in zip(
        resumed.model.parameters(), whole.model.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)
    # The data already seen are not read again, nor counted twice.
    first = 3 if iteration < 6 else 6
    read = resumed.train_dataloader.loaders[0].read
    assert read == list(range(first, 8))
    assert 'in the whole run, data: 32 pairs, 2 broken images' in lines


def test_a_loader_that_draws_numbers_when_it_starts_changes_nothing(tmp_path):
    changes = {'train_dataloader.type': 'TorchLoader'}
    whole = trained(tmp_path / 'a', **changes)
    interrupted(tmp_path / 'b', 4, **changes)
    resumed = trained(tmp_path / 'b', resume=True, **changes)
    assert history(resumed) == history(whole)


def test_what_is_in_a_checkpoint(tmp_path):
    build(tmp_path).train()
    checkpoint = read_checkpoint(tmp_path / 'iter_8.pth')
    meta = checkpoint['meta']
    assert (meta['iter'], meta['epoch'], meta['seed']) == (8, 0, 7)
    assert meta['versions']['torch'] == torch.__version__
    assert "type='TinyModel'" in meta['cfg']
    assert checkpoint['loop'][0]['loaders'] == [{'position': 8}]
    assert len(checkpoint['param_schedulers']) == 2


def test_the_last_few_checkpoints_stay(tmp_path):
    changes = {
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.max_keep': 2,
    }
    interrupted(tmp_path, 5, **changes)
    assert checkpoints(tmp_path) == ['iter_4.pth', 'iter_5.pth']
    build(tmp_path, resume=True, **changes).train()
    assert checkpoints(tmp_path) == ['iter_7.pth', 'iter_8.pth']
    pointed = (tmp_path / 'last_checkpoint').read_text()
    assert pointed.endswith('iter_8.pth')


def test_by_the_clock(tmp_path):
    changes = {
        'default_hooks.checkpoint.interval': None,
        'default_hooks.checkpoint.minutes': 1e-9,
        'default_hooks.checkpoint.max_keep': -1,
    }
    build(tmp_path, **changes).train()
    assert len(checkpoints(tmp_path)) == 8


def test_a_finished_run_is_left_alone(tmp_path):
    build(tmp_path, **VALIDATED).train()
    again = build(tmp_path, resume=True, **VALIDATED)
    lines = Lines(again)
    again.train()
    assert 'iteration 8 of 8: nothing is left to train' in lines
    assert again.val_loop.evaluator[0].seen == []
    assert again.train_dataloader.loaders[0].read == []


def test_a_validation_that_was_missed_is_made_up_for(tmp_path):
    """Killed after the last checkpoint, before the last validation."""
    changes = {**VALIDATED, 'default_hooks.checkpoint.interval': 2}
    interrupted(tmp_path, 8, **changes)
    assert not (tmp_path / 'val' / '8').exists()
    build(tmp_path, resume=True, **changes).train()
    assert (tmp_path / 'val' / '8' / 'metrics.json').is_file()


class Export(Hook):
    """Notes with which weights training ended."""

    def __init__(self):
        self.ended = []

    def after_train(self, runner):
        self.ended.append(float(runner.model.head.weight.detach().sum()))


def test_what_comes_after_training_is_made_up_for(tmp_path):
    """Killed after the last checkpoint, before the hooks at the end."""
    changes = {'default_hooks.checkpoint.interval': 2}
    killed = interrupted(tmp_path, 8, **changes)
    resumed = build(tmp_path, resume=True, **changes)
    export = Export()
    resumed.register_hook(export)
    resumed.train()
    assert export.ended == [float(killed.model.head.weight.detach().sum())]


def test_half_written_checkpoints_are_passed_over(tmp_path):
    interrupted(tmp_path, 7)
    path = tmp_path / 'iter_6.pth'
    path.write_bytes(path.read_bytes()[:-100])
    left = tmp_path / 'iter_9.pth.1.unfinished'
    left.write_bytes(b'half')
    resumed = build(tmp_path, resume=True)
    lines = Lines(resumed)
    resumed.train()
    assert 'iter_3.pth at iteration 3' in lines
    assert not left.exists()
    assert history(resumed)[-1] == history(trained(tmp_path / 'b'))[-1]


def test_damaged_checkpoints_are_passed_over_and_named(tmp_path):
    interrupted(tmp_path, 7)
    path = tmp_path / 'iter_6.pth'
    data = bytearray(path.read_bytes())
    data[2000:6000] = bytes(4000)
    path.write_bytes(data)
    resumed = build(tmp_path, resume=True)
    lines = Lines(resumed)
    resumed.train()
    assert 'iter_6.pth is damaged' in lines
    assert 'iter_3.pth at iteration 3' in lines


def trained(folder, **changes):
    runner = build(folder, **changes)
    runner.train()
    return runner


def test_processes_that_read_different_checkpoints_are_said(
    tmp_path, monkeypatch
):
    interrupted(tmp_path, 4)
    runner = build(tmp_path, resume=True)
    monkeypatch.setattr(
        dist, 'all_gather_object', lambda mine: [mine, 'none', 6]
    )
    with pytest.raises(CheckpointError, match=r'iterations 3, none, 6.*share'):
        runner.load_or_resume()


def test_nothing_to_resume_is_said(tmp_path):
    runner = build(tmp_path, resume=True)
    lines = Lines(runner)
    runner.train()
    assert 'training starts from the beginning' in lines
    assert runner.iter == 8


def test_a_full_disk_is_said_and_keeps_the_last_good_one(
    tmp_path, monkeypatch
):
    runner = build(tmp_path)
    lines = Lines(runner)
    real = write_checkpoint

    def full(checkpoint, path):
        if path.name == 'iter_6.pth':
            raise OSError(errno.ENOSPC, 'No space left on device')
        return real(checkpoint, path)

    monkeypatch.setattr(run_files, 'write_checkpoint', full)
    runner.train()
    assert 'iter_6.pth could not be written (No space left on device)' in lines
    assert 'the last good checkpoint is ' in lines
    assert checkpoints(tmp_path) == ['iter_3.pth', 'iter_8.pth']
    assert history(runner) == history(trained(tmp_path / 'b'))


def test_a_resumed_run_names_its_own_checkpoint_as_the_last(tmp_path):
    interrupted(tmp_path, 7)
    runner = build(tmp_path, resume=True)
    runner.load_or_resume()
    last = runner.message_hub.get_info('last_ckpt')
    assert last == str(tmp_path / 'iter_6.pth')


class Signal(Hook):
    def __init__(self, number, iteration):
        self.number, self.iteration = number, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == self.iteration:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_first(tmp_path, number):
    before = signal.getsignal(number)
    runner = build(tmp_path)
    runner.register_hook(Signal(number, 4))
    lines = Lines(runner)
    runner.train()
    assert runner.iter == 5
    assert f'stopped by {number.name} after iteration 5' in lines
    assert signal.getsignal(number) is before
    resumed = build(tmp_path, resume=True)
    resumed.train()
    assert history(resumed) == history(trained(tmp_path / 'b'))


def test_asked_to_stop_while_it_validates(tmp_path):
    class InVal(Hook):
        def before_val(self, runner):
            os.kill(os.getpid(), signal.SIGTERM)

    changes = {**VALIDATED, 'default_hooks.checkpoint.interval': 5}
    runner = build(tmp_path, **changes)
    runner.register_hook(InVal())
    runner.train()
    assert runner.iter == 2
    assert checkpoints(tmp_path) == ['iter_2.pth']
    assert read_checkpoint(tmp_path / 'iter_2.pth')['meta']['iter'] == 2
    resumed = build(tmp_path, resume=True)
    resumed.train()
    assert history(resumed) == history(trained(tmp_path / 'b'))


class Metrics(Hook):
    """Answers other values than the task, one for each validation."""

    priority = 'VERY_HIGH'

    def __init__(self, values):
        self.values = list(values)

    def after_val_epoch(self, runner, metrics=None):
        metrics['tiny/weight'] = self.values.pop(0)


@pytest.mark.parametrize('rule', ['greater', 'less'])
def test_a_value_that_is_not_finite_is_never_the_best(tmp_path, rule):
    changes = {
        **VALIDATED,
        'default_hooks.checkpoint.save_best': 'tiny/weight',
        'default_hooks.checkpoint.rule': rule,
    }
    runner = build(tmp_path, **changes)
    nan, inf = float('nan'), float('inf')
    runner.register_hook(Metrics([nan, 2.0, -inf, inf]))
    runner.train()
    record = json.loads((tmp_path / 'best_checkpoint.json').read_text())
    assert (record['value'], record['iter']) == (2.0, 4)


@pytest.mark.parametrize('rule', ['greater', 'less'])
def test_the_best_checkpoint_is_kept(tmp_path, rule):
    changes = {
        **VALIDATED,
        'default_hooks.checkpoint.save_best': 'tiny/weight',
        'default_hooks.checkpoint.rule': rule,
    }
    runner = trained(tmp_path, **changes)
    values = history(runner, 'val/tiny/weight')
    best = max(values) if rule == 'greater' else min(values)
    record = json.loads((tmp_path / 'best_checkpoint.json').read_text())
    assert record['value'] == best
    assert record['iter'] == 2 * (values.index(best) + 1)
    name = f'best_tiny_weight_iter_{record["iter"]}.pth'
    assert [n for n in checkpoints(tmp_path) if n[0] == 'b'] == [name]
    weights = read_checkpoint(tmp_path / name)['state_dict']
    found = float(weights['head.weight'].abs().sum())
    assert found == pytest.approx(best)
    assert read_checkpoint(tmp_path / name)['meta']['iter'] == record['iter']


def test_a_metric_that_is_not_there_is_said(tmp_path):
    changes = {
        **VALIDATED,
        'default_hooks.checkpoint.save_best': 'tiny/wieght',
    }
    runner = build(tmp_path, **changes)
    lines = Lines(runner)
    runner.train()
    assert 'no metric tiny/wieght; there are: tiny/weight' in lines


def test_weights_that_do_not_fit_stop_the_run(tmp_path):
    trained(tmp_path)
    path = str(tmp_path / 'iter_8.pth')
    changes = {'load_from': path, 'model.width': 9}
    with pytest.raises(ValueError, match='do not fit TinyModel'):
        build(tmp_path / 'b', **changes).train()


def test_weights_of_which_a_part_fits_are_taken_if_asked_for(tmp_path):
    state = trained(tmp_path).model.state_dict()
    state.pop('head.bias')
    write_checkpoint({'state_dict': state}, tmp_path / 'part.pth')
    changes = {'load_from': str(tmp_path / 'part.pth')}
    with pytest.raises(ValueError, match=r'1 missing \(head.bias\)'):
        build(tmp_path / 'b', **changes).train()
    runner = build(tmp_path / 'c', load_strict=False, **changes)
    lines = Lines(runner)
    runner.load_or_resume()
    assert torch.equal(runner.model.head.weight, state['head.weight'])
    assert '3 of 4 keys matched' in lines


def test_weights_come_from_safetensors_too(tmp_path):
    state = trained(tmp_path).model.state_dict()
    save_file(state, tmp_path / 'model.safetensors')
    runner = build(tmp_path / 'b', load_from=str(tmp_path))
    runner.load_or_resume()
    assert torch.equal(runner.model.head.weight, state['head.weight'])
    assert runner.iter == 0


def test_no_run_is_resumed_from_weights(tmp_path):
    state = trained(tmp_path).model.state_dict()
    write_checkpoint({'state_dict': state}, tmp_path / 'weights.pth')
    changes = {'load_from': str(tmp_path / 'weights.pth'), 'resume': True}
    with pytest.raises(CheckpointError, match='use it as load_from'):
        build(tmp_path / 'b', **changes).train()


def test_a_checkpoint_without_its_schedule_is_said(tmp_path):
    trained(tmp_path)
    path = tmp_path / 'iter_8.pth'
    checkpoint = read_checkpoint(path)
    del checkpoint['param_schedulers']
    write_checkpoint(checkpoint, path)
    with pytest.raises(CheckpointError, match='no param_schedulers, so no'):
        build(tmp_path, resume=True).train()


class Trap:
    def __reduce__(self):
        return os.mkdir, ('trap',)


def test_a_checkpoint_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained(tmp_path / 'a')
    path = tmp_path / 'a' / 'iter_8.pth'
    checkpoint = torch.load(path, weights_only=True)
    # mmengine's own resume would run this text as a Python file.
    checkpoint['meta']['config'] = 'import os; os.mkdir("trap")'
    torch.save(checkpoint, path)
    build(tmp_path / 'a', resume=True).train()
    torch.save({**checkpoint, 'hook': Trap()}, path)
    with pytest.raises(RefusedCheckpointError, match='--trust'):
        build(tmp_path / 'a', resume=True).train()
    assert not (tmp_path / 'trap').exists()


def test_a_config_that_changed_is_told(tmp_path, laid_out):
    interrupted(tmp_path, 4)
    changes = {
        'default_hooks.checkpoint.max_keep': 5,
        'log_processor.window_size': 2,
        'optim_wrapper.dtype': None,
        'optim_wrapper.clip_grad.max_norm': 2.0,
        'train_dataloader.broken': (7,),
        **VALIDATED,
    }
    runner = build(tmp_path, resume=True, **changes)
    lines = Lines(runner)
    runner.train()
    assert runner.iter == 8
    assert '+log_processor = dict(by_epoch=False, window_size=2)' in lines


ENDS = [
    dict(type='LinearLR', start_factor=0.1, end=3, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=3, end=8, by_epoch=False),
]


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        (
            {'optim_wrapper.optimizer.lr': 0.5},
            r'with optim_wrapper\.optimizer\.lr=0\.01 \(the .* says 0\.5\)',
        ),
        (
            {'optim_wrapper.optimizer.weight_decay': 0.5},
            r'optimizer\.weight_decay=nothing \(the .* says 0\.5\)',
        ),
        (
            {'optim_wrapper.paramwise_cfg.custom_keys.head.lr_mult': 0.5},
            r'paramwise_cfg\.custom_keys\.head\.lr_mult=nothing',
        ),
        ({'param_scheduler.0.end': 2}, r'param_scheduler\.0\.end=3'),
        ({'param_scheduler': ENDS[:1]}, r'param_scheduler\.1\.type='),
        ({'train_cfg.max_iters': 20}, r'train_cfg\.max_iters=8 .* 20'),
    ],
)
def test_a_resumed_run_refuses_another_optimizer_or_schedule(
    tmp_path, changes, sentence
):
    interrupted(tmp_path, 4)
    path = tmp_path / 'iter_3.pth'
    with pytest.raises(CheckpointError, match=sentence) as caught:
        build(tmp_path, resume=True, **changes).train()
    assert str(caught.value).endswith(f'start a new run with load_from={path}')
    assert '\n' not in str(caught.value)
    anew = build(tmp_path / 'b', load_from=str(path), **changes)
    anew.load_or_resume()
    assert anew.iter == 0


@pytest.mark.parametrize('several', [False, True])
def test_a_rate_fitted_to_another_batch_says_which_batch(tmp_path, several):
    fitted = {'auto_batch': dict(global_batch_size=64)}
    loader = dict(type='TinyLoader')
    if several:
        fitted['train_dataloader'] = [loader, dict(loader, seed=3)]
    interrupted(tmp_path, 4, **fitted)
    smaller = dict(loader, batch_size=2)
    changes = {
        **fitted,
        'train_dataloader': [smaller, smaller] if several else smaller,
        'optim_wrapper.optimizer.lr': 0.005,
    }
    with pytest.raises(CheckpointError) as caught:
        build(tmp_path, resume=True, **changes).train()
    said = str(caught.value)
    assert (
        'optim_wrapper.optimizer.lr=0.01 (the config now says 0.005)' in said
    )
    assert 'the batch, which was 4 pairs and is 2 here' in said
    place = 'train_dataloader'
    options = f'{place}.batch_size=4'
    if several:
        each = f'{place}.0.batch_size=4 {place}.1.batch_size=4'
        options += f', or, where the config itself has several, {each}'
    assert said.endswith(f'so resume with --cfg-options {options}')
    runner = build(tmp_path, resume=True, **changes)
    runner._world_size = 3
    with pytest.raises(CheckpointError, match='that 4 can be divided by'):
        runner.train()


def test_a_run_whose_schedule_has_an_end_can_be_made_longer(tmp_path):
    trained(tmp_path, param_scheduler=ENDS)
    changes = {'param_scheduler': ENDS, 'train_cfg.max_iters': 10}
    resumed = trained(tmp_path, resume=True, **changes)
    assert resumed.iter == 10
    assert len(history(resumed)) == 10


def test_another_number_of_schedules_is_said():
    with pytest.raises(ValueError, match='has 2 schedules and the config 1'):
        restore_schedulers([None], [{}, {}])


def test_the_seed_of_the_run_is_kept(tmp_path):
    interrupted(tmp_path, 4)
    runner = build(tmp_path, resume=True, **{'randomness.seed': 8})
    said = r'iter_3\.pth was trained with seed 7, .* set randomness.seed=7'
    with pytest.raises(CheckpointError, match=said):
        runner.train()
    runner = build(tmp_path, resume=True, **{'randomness.seed': None})
    runner.train()
    assert history(runner) == history(trained(tmp_path / 'b'))


def test_a_run_goes_on_from_its_own_checkpoints(tmp_path):
    # and not from those of the run whose weights it began with
    first = trained(tmp_path / 'a')
    start = {'load_from': str(tmp_path / 'a/iter_6.pth')}
    whole = trained(tmp_path / 'b', **start)
    interrupted(tmp_path / 'c', 5, **start)
    resumed = trained(tmp_path / 'c', resume=OWN, **start)
    assert history(resumed) == history(whole) != history(first)
    # mmengine's own way goes on with the other's
    named = build(tmp_path / 'd', resume=True, **start)
    named.load_or_resume()
    named.train_loop  # noqa: B018
    assert named.iter == 6


def test_a_run_without_checkpoints_begins_where_it_would_have(tmp_path):
    trained(tmp_path / 'a')
    start = {'load_from': str(tmp_path / 'a/iter_6.pth')}
    anew = trained(tmp_path / 'b', resume=OWN, **start)
    assert history(anew) == history(trained(tmp_path / 'c', **start))


@HOOKS.register_module(force=True)
class KeepsWeights(ExportHook):
    """Notes what would be exported."""

    def _write(self, runner, model, folder, weights):
        runner.exported = {k: v.clone() for k, v in weights.items()}


def averaged(folder, **changes):
    hooks = [dict(type='EMAHook', momentum=0.5), dict(type='KeepsWeights')]
    return trained(folder, custom_hooks=hooks, **changes)


@pytest.mark.parametrize('saved', [True, False])
def test_averages_are_exported_however_a_run_ends(tmp_path, saved):
    # without `save_last` nothing is exported with a last checkpoint
    changes = {'default_hooks.checkpoint.save_last': saved}
    runner = averaged(tmp_path, **changes)
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    average = hook.ema_model.module.state_dict()
    plain = runner.model.state_dict()
    for key, value in runner.exported.items():
        assert torch.equal(value, average[key])
        assert not torch.equal(value, plain[key])
    if saved:
        again = averaged(tmp_path, resume=True, **changes)
        assert again.iter == 8
        for key, value in again.exported.items():
            assert torch.equal(value, average[key])


def test_a_run_that_a_hook_ends_early_is_saved(tmp_path):
    early = dict(type='EarlyStoppingHook', monitor='tiny/weight', patience=1)
    # No change is large enough to count.
    early |= dict(rule='greater', min_delta=1e6)
    changes = {**VALIDATED, 'default_hooks.checkpoint.interval': 5}
    runner = trained(tmp_path, custom_hooks=[early], **changes)
    assert 0 < runner.iter < 5
    assert checkpoints(tmp_path) == [f'iter_{runner.iter}.pth']
    (hook,) = [h for h in runner.hooks if isinstance(h, SafeCheckpointHook)]
    assert not hook.stopped


@pytest.mark.parametrize('rank', [0, 1])
def test_more_processes_than_before_go_on_in_the_same_place(tmp_path, rank):
    interrupted(tmp_path, 4)
    runner = build(tmp_path, resume=True)
    runner._world_size, runner._rank = 2, rank
    lines = Lines(runner)
    runner.load_or_resume()
    assert 'some are seen again' not in lines
    assert runner.train_dataloader.loaders[0].position == 3
    assert runner.iter == 3
    # What was counted so far is counted once.
    counted = {'pairs': 12, 'broken_images': 0} if rank == 0 else {}
    assert runner.train_loop.total.counts == counted


def test_fewer_processes_than_before_go_on_in_the_same_place():
    def place(pairs):
        counts = {'pairs': pairs, 'examples': [f'{pairs}.jpg: torn']}
        loaders = [{'position': 7, 'seed': 1}]
        return {'loaders': loaders, 'reports': [counts], 'total': counts}

    both = {'pairs': 9, 'examples': ['4.jpg: torn', '5.jpg: torn']}
    assert place_for_all([place(4), place(5)], 0) == {
        'loaders': [{'position': 7, 'seed': 1}],
        'reports': [both],
        'total': both,
    }


@pytest.mark.parametrize(
    'change',
    [{'position': 9}, {'position': 3, 'processes': 3}],
    ids=['places differ', 'bound to a number of processes'],
)
def test_data_with_no_place_for_all_start_again(tmp_path, change):
    interrupted(tmp_path, 4)
    path = tmp_path / 'iter_3.pth'
    checkpoint = read_checkpoint(path)
    one = checkpoint['loop'][0]
    checkpoint['loop'] = [one, one, {**one, 'loaders': [change]}]
    if 'processes' in change:
        checkpoint['loop'] = [checkpoint['loop'][2]] * 3
    write_checkpoint(checkpoint, path)
    runner = build(tmp_path, resume=True)
    lines = Lines(runner)
    runner.load_or_resume()
    assert 'had 3 places in the data and there are 1 processes' in lines
    assert runner.train_dataloader.loaders[0].position == 0
    assert runner.iter == 3
