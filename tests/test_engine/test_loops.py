import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from sparc_vlm.engine.data_report import DataReport, joined
from sparc_vlm.engine.loaders import TrainLoaders
from sparc_vlm.engine.randomness import seed_step
from tests.test_engine.tiny import Lines, TinyLoader, build, history


def two_loaders():
    return [
        dict(type='TinyLoader', seed=1),
        dict(type='TinyLoader', seed=2, batch_size=6, pairs_per_epoch=None),
    ]


def test_a_step_draws_by_seed_iteration_and_rank():
    def draws(*numbers):
        seed_step(*numbers)
        return torch.rand(2).tolist(), np.random.rand(), random.random()

    assert draws(1, 2, 3) == draws(1, 2, 3)
    others = [(0, 2, 3), (1, 0, 3), (1, 2, 0), (2, 1, 3)]
    values = [draws(1, 2, 3)[0][0], *(draws(*o)[0][0] for o in others)]
    assert len(set(values)) == 5


@pytest.mark.parametrize('rounds', [1, 3])
def test_gradients_of_several_datasets_are_added(tmp_path, rounds):
    """The update equals one made by hand from the sum of the losses.

    Of several rounds, it is the mean.
    """
    changes = {
        'optim_wrapper.accumulative_counts': rounds,
        'train_dataloader': two_loaders(),
        'train_cfg.max_iters': 5,
        'optim_wrapper.dtype': None,
    }
    runner = build(tmp_path, **changes)
    runner.train()

    twin = build(tmp_path / 'twin', **changes)
    model = twin.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    twin.optim_wrapper = twin.build_optim_wrapper(
        dict(type='AutocastOptimWrapper', optimizer=optimizer)
    )
    schedulers = twin.build_param_scheduler(twin.param_schedulers)
    loaders = [
        TinyLoader(seed=1),
        TinyLoader(seed=2, batch_size=6),
    ]
    totals = []
    for step in range(5):
        seed_step(7, step, 0)
        total = 0
        for number in range(rounds * step, rounds * (step + 1)):
            for loader in loaders:
                batch = loader.batch(number)
                inputs = batch['images'], batch['target']
                total = total + model(*inputs, mode='loss')['loss_fit']
        total = total / rounds
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
        totals.append(total.item())
    torch.testing.assert_close(history(runner), totals)
    for mine, theirs in zip(
        runner.model.parameters(), model.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_each_dataset_has_its_losses_in_the_log(tmp_path):
    runner = build(tmp_path, train_dataloader=two_loaders())
    runner.train()
    parts = [history(runner, f'train/data{i}/loss') for i in range(2)]
    np.testing.assert_allclose(history(runner), np.sum(parts, 0), rtol=1e-6)
    assert history(runner, 'train/data1/temperature')


def test_the_schedule_steps_once_an_update(tmp_path):
    runner = build(tmp_path, train_dataloader=two_loaders())
    runner.train()
    rates = history(runner, 'train/lr')
    np.testing.assert_allclose(rates[:3], [1e-3, 5.5e-3, 1e-2])
    assert len(rates) == 8
    assert rates[-1] < rates[3]


def test_several_rounds_are_one_step(tmp_path):
    """Of the log, of the schedule, and of the data that are reported."""
    changes = {
        'optim_wrapper.accumulative_counts': 3,
        'train_dataloader': two_loaders(),
    }
    runner = build(tmp_path, **changes)
    lines = Lines(runner)
    runner.train()
    assert runner.iter == len(history(runner)) == 8
    assert [x.position for x in runner.train_dataloader.loaders] == [24, 24]
    assert 'trained 8 iterations, 240 pairs' in lines
    assert 'in the whole run, data: 240 pairs' in lines
    assert 'data0, epoch 8: data: 12 pairs' in lines
    times = zip(
        history(runner, 'train/data_time'),
        history(runner, 'train/time'),
        strict=True,
    )
    assert all(waiting < whole for waiting, whole in times)
    rates = history(runner, 'train/lr')
    np.testing.assert_allclose(rates[:3], [1e-3, 5.5e-3, 1e-2])


def test_a_run_in_rounds_is_resumed_between_them(tmp_path):
    changes = {'optim_wrapper.accumulative_counts': 2}
    whole = build(tmp_path / 'a', **changes)
    whole.train()
    middle = str(tmp_path / 'a/iter_3.pth')
    resumed = build(tmp_path / 'b', **changes, resume=True, load_from=middle)
    lines = Lines(resumed)
    resumed.train()
    assert history(resumed) == history(whole)
    assert 'divisible' not in lines
    for mine, theirs in zip(
        resumed.model.parameters(), whole.model.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)


class Watch(Hook):
    def __init__(self):
        self.calls = []
        self.batches = []

    def before_train(self, runner):
        self.calls.append('before_train')

    def before_train_epoch(self, runner):
        self.calls.append('before_train_epoch')

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append((batch_idx, set(data_batch)))

    def after_train_epoch(self, runner):
        self.calls.append('after_train_epoch')

    def after_train(self, runner):
        self.calls.append('after_train')


def test_hooks_are_called_as_in_mmengines_loop(tmp_path):
    runner = build(tmp_path, **{'train_cfg.max_iters': 4})
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    assert watch.calls == [
        'before_train',
        'before_train_epoch',
        'after_train_epoch',
        'after_train',
    ]
    # The report is gone; what the model does not take stays for hooks.
    keys = {'images', 'target', 'keys'}
    assert watch.batches == [(i, keys) for i in range(4)]


def test_bad_data_are_reported_each_epoch_and_in_all(tmp_path):
    runner = build(tmp_path, **{'train_dataloader.broken': (1, 4)})
    lines = Lines(runner)
    runner.train()
    bad = '12 pairs, 1 broken images (first: {}.jpg: cannot be read)'
    assert f'data0, epoch 1: data: {bad.format(1)}' in lines
    assert f'data0, epoch 2: data: {bad.format(4)}' in lines
    assert 'in the whole run, data: 32 pairs, 2 broken images' in lines


def test_data_without_an_end_are_reported_by_iterations(tmp_path):
    changes = {
        'train_dataloader.pairs_per_epoch': None,
        'train_cfg.report_interval': 5,
    }
    runner = build(tmp_path, **changes)
    lines = Lines(runner)
    runner.train()
    assert 'data0, iteration 5: data: 20 pairs, nothing broken' in lines


def test_reports_add_up_and_keep_few_examples():
    report = DataReport()
    for i in range(4):
        report.add({'pairs': 3, 'broken': 2, 'examples': [f'{i}a', f'{i}b']})
    assert report.counts == {'pairs': 12, 'broken': 8}
    assert report.examples == ['0a', '0b', '1a', '1b', '2a']
    assert joined([report.state_dict()]).text() == report.text()
    assert report.text().startswith(
        'data: 12 pairs, 8 broken (first: 0a; 4 more below)\n  0b'
    )


def test_loaders_start_only_when_asked_for_a_batch():
    loaders = TrainLoaders([TinyLoader(), TinyLoader()], 5)
    assert [loader.started for loader in loaders.loaders] == [0, 0]
    loaders.load_state_dict([{'position': 3}, {'position': 8}])
    loaders.draw()
    assert [loader.read for loader in loaders.loaders] == [[3], [8]]
    assert loaders.state_dict() == [{'position': 4}, {'position': 9}]


def test_loaders_that_do_not_fit_are_said():
    loaders = TrainLoaders(TinyLoader(), 5)
    with pytest.raises(ValueError, match='2 datasets and the config names 1'):
        loaders.load_state_dict([{}, {}])
    with pytest.raises(ValueError, match='empty list'):
        TrainLoaders([], 5)


def test_a_loader_that_ends_is_said():
    class Short(TinyLoader):
        def __iter__(self):
            yield self.batch(0)

    loaders = TrainLoaders(Short(), 5)
    loaders.draw()
    with pytest.raises(RuntimeError, match='endless'):
        loaders.draw()


def test_a_step_left_out_is_counted_and_training_goes_on(tmp_path):
    runner = build(tmp_path, **{'model.poison_at': (2, 5)})
    lines = Lines(runner)
    runner.train()
    assert runner.optim_wrapper.skipped == 2
    assert len(history(runner)) == 6  # no NaN hides the running mean
    assert np.isfinite(history(runner)).all()
    assert len(history(runner, 'train/lr')) == 8
    assert 'step left out' in lines
    assert '2 steps left out as not finite' in lines
    for parameter in runner.model.parameters():
        assert parameter.isfinite().all()


def test_what_cannot_work_is_said(tmp_path):
    with pytest.raises(ValueError, match='at least 1'):
        build(tmp_path, **{'train_cfg.max_iters': 0}).train()
    changes = {'optim_wrapper.accumulative_counts': 0}
    with pytest.raises(ValueError, match='accumulative_counts must be at'):
        build(tmp_path, **changes).train()


def test_times_are_measured_and_summed_up(tmp_path):
    runner = build(tmp_path)
    lines = Lines(runner)
    runner.train()
    for key in ('time', 'data_time', 'pairs_per_second', 'grad_norm'):
        values = history(runner, f'train/{key}')
        assert len(values) == 8
        assert min(values) >= 0
    times = zip(
        history(runner, 'train/data_time'),
        history(runner, 'train/time'),
        strict=True,
    )
    assert all(waiting < whole for waiting, whole in times)
    assert 'trained 8 iterations, 32 pairs' in lines
    for key in ('data_time', 'grad_norm', 'pairs_per_second', 'temperature'):
        assert f'{key}: ' in lines
