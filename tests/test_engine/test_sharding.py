"""FSDP and DDP through mmengine's strategies: two real processes, gloo.

Two processes with uneven shares of a batch against one process with all of
it. One pair of processes goes through all the runs, one after the other.
"""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.hooks import Hook
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

import sparc_vlm
from sparc_vlm.engine import ConfigError, read_checkpoint
from sparc_vlm.engine.optim import AutocastOptimWrapper
from sparc_vlm.engine.strategies import shares_out
from sparc_vlm.registry import HOOKS
from sparc_vlm.weights import read_weights
from tests.test_engine.ranks import rank, start_all
from tests.test_engine.tiny import build, history
from tests.test_engine.tiny_pairs import RECOMPUTED, encoded, options

FSDP = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        auto_wrap_policy=dict(type='wrap_layers'),
    ),
)
DDP = dict(type='DDPStrategy')
AGAIN = dict(
    FSDP, activation_checkpointing=dict(check_fn=dict(type='is_text_layer'))
)
ROUNDS = {'optim_wrapper.accumulative_counts': 2}
PARTS = {'model.micro_batch': 1}
BY_NORM = {'optim_wrapper.clip_grad.norm_type': float('inf')}
RUNS = {
    'fsdp': dict(strategy=FSDP),
    'fsdp, several rounds': dict(strategy=FSDP, **ROUNDS),
    'fsdp, micro-batches': dict(
        strategy=FSDP, **PARTS, **ROUNDS, **RECOMPUTED
    ),
    'fsdp, its own checkpointing': dict(strategy=AGAIN),
    'fsdp, largest gradient, frozen layers': dict(
        strategy=FSDP, **BY_NORM, **{'model.vision.frozen_stages': 1}
    ),
    'ddp': dict(strategy=DDP, **RECOMPUTED),
    'ddp, micro-batches': dict(strategy=DDP, **PARTS, **ROUNDS),
    'several rounds': ROUNDS,
}
"""What two processes run; one process runs the same without a strategy."""


@HOOKS.register_module(force=True)
class Watch(Hook):
    """Notes how the model is wrapped, and encodes during validation."""

    def before_train(self, runner):
        self.wrapper = type(runner.model).__name__
        self.pieces = sum(p.numel() for p in runner.model.parameters())
        self.encoded = []

    def after_val_epoch(self, runner, metrics=None):
        if rank() == 0:
            self.encoded.append(encoded(runner.bare_model).norm().item())


def trained(folder, **changes):
    """What a run of a few steps comes to."""
    runner = build(folder, **changes)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    return {
        'weights': runner.weights(),
        'norms': history(runner, 'train/grad_norm'),
        'losses': history(runner),
        'wrapper': watch.wrapper,
        'pieces': watch.pieces,
        'encoded': watch.encoded,
    }


def every_run(folder, runs):
    """Each of the runs in turn, with this process's share of the pairs."""
    for name, changes in runs.items():
        place = folder / name
        result = trained(place, launcher='pytorch', **changes)
        torch.save(result, folder / f'{name} {rank()}.pt')


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    """All runs in two processes; what each process had at the end."""
    folder = tmp_path_factory.mktemp('both')
    runs = {name: options(**changes) for name, changes in RUNS.items()}
    start_all(folder, every_run, runs)
    return {
        name: [
            torch.load(folder / f'{name} {i}.pt', weights_only=True)
            for i in (0, 1)
        ]
        for name in RUNS
    }


@pytest.mark.parametrize('name', RUNS)
def test_two_processes_train_as_one_with_the_joined_batch(
    name, both, tmp_path
):
    first, second = both[name]
    alone = {k: v for k, v in RUNS[name].items() if k != 'strategy'}
    if 'checkpointing' in name:
        alone = RECOMPUTED
    wanted = trained(tmp_path, **options(**alone))
    assert first['weights'].keys() == wanted['weights'].keys()
    for key, value in wanted['weights'].items():
        torch.testing.assert_close(
            first['weights'][key], value, rtol=1e-4, atol=1e-5
        )
    for key in ('norms', 'losses'):
        assert first[key] == second[key]
        assert first[key] == pytest.approx(wanted[key], rel=1e-4)
    if name.startswith('fsdp'):
        assert first['wrapper'] == 'MMFullyShardedDataParallel'
        # A piece each, but for scalars and for padding.
        total = wanted['pieces']
        assert first['pieces'] + second['pieces'] < 1.05 * total
        assert first['pieces'] < 0.6 * total
    else:
        assert first['wrapper'] == 'MMDistributedDataParallel'


def test_gradients_were_clipped(both):
    assert all(norm > 0.5 for norm in both['fsdp'][0]['norms'])


ADAM = {
    'model.vision.frozen_stages': 1,
    'optim_wrapper.optimizer': dict(
        _delete_=True,
        type='AdamW',
        lr=1e-2,
        weight_decay=0.02,
        fused=True,
    ),
    'train_cfg.max_iters': 6,
    'train_cfg.val_interval': 3,
    'val_cfg': dict(type='TaskLoop'),
    'val_dataloader': dict(),
    'val_evaluator': [dict(type='TinyEncoding')],
    'default_hooks.checkpoint.save_best': 'encoding/length',
    'custom_hooks': [dict(type='ExportHook')],
}


def stop_and_go_on(folder, base):
    """Whole, resumed from its middle, and resumed from one process's run."""
    changes = {**options(**base), 'strategy': FSDP, 'launcher': 'pytorch'}
    whole = trained(folder / 'whole', **changes)
    again = {**changes, 'resume': True}
    middle = str(folder / 'whole/iter_3.pth')
    resumed = trained(folder / 'again', **again, load_from=middle)
    single = str(folder.parent / 'single/iter_3.pth')
    joined = trained(folder / 'joined', **again, load_from=single)
    weights = str(folder.parent / 'single/model')
    started = build(folder / 'started', **changes, load_from=weights)
    started.load_or_resume()
    results = dict(
        whole=whole, resumed=resumed, joined=joined, loaded=started.weights()
    )
    torch.save(results, folder / f'{rank()}.pt')


@pytest.fixture(scope='module')
def resumed(tmp_path_factory):
    """A folder with one process's run, and what two processes made of it."""
    folder = tmp_path_factory.mktemp('resumed')
    single = trained(folder / 'single', **options(**ADAM))
    start_all(folder / 'two', stop_and_go_on, ADAM)
    results = torch.load(folder / 'two/0.pt', weights_only=True)
    return folder, single, results


def assert_weights(found, wanted, **tolerance):
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, **tolerance)


def test_a_resumed_run_is_as_if_it_had_never_stopped(resumed):
    _, _, results = resumed
    whole, again = results['whole'], results['resumed']
    assert_weights(again['weights'], whole['weights'], rtol=0, atol=0)
    assert again['losses'] == whole['losses']
    assert again['norms'] == whole['norms']


def test_checkpoints_are_those_of_any_number_of_processes(resumed, tmp_path):
    folder, single, results = resumed
    near = dict(rtol=1e-3, atol=1e-4)
    ours = read_checkpoint(folder / 'two/whole/iter_3.pth')
    theirs = read_checkpoint(folder / 'single/iter_3.pth')
    assert_weights(ours['state_dict'], theirs['state_dict'], **near)
    states = [c['optimizer']['state'] for c in (ours, theirs)]
    assert states[0].keys() == states[1].keys()
    for number, wanted in states[1].items():
        for key, value in wanted.items():
            found = states[0][number][key]
            torch.testing.assert_close(found, value, rtol=1e-2, atol=1e-4)
    # two processes went on from one's, and one goes on from two's
    close = dict(rtol=1e-2, atol=1e-3)
    assert_weights(results['joined']['weights'], single['weights'], **close)
    back = trained(
        tmp_path,
        **options(**ADAM),
        resume=True,
        load_from=str(folder / 'two/whole/iter_3.pth'),
    )
    assert_weights(back['weights'], single['weights'], **close)


def test_weights_of_a_folder_are_shared_out(resumed):
    folder, _, results = resumed
    wanted = read_weights(folder / 'single/model')
    assert_weights(results['loaded'], wanted, rtol=0, atol=0)


def test_the_model_is_whole_for_validation_and_for_export(resumed):
    folder, single, results = resumed
    whole = results['whole']
    model = sparc_vlm.load(folder / 'two/whole')
    assert_weights(model.state_dict(), whole['weights'], rtol=0, atol=0)
    assert len(whole['encoded']) == 2
    assert whole['encoded'] == pytest.approx(single['encoded'], rel=1e-2)
    assert encoded(model).norm().item() == whole['encoded'][-1]
    sheet = folder / 'two/whole/val/6/metrics.json'
    found = json.loads(sheet.read_text())['metrics']['encoding/length']
    assert found == pytest.approx(whole['encoded'][-1], rel=1e-6)
    best = json.loads((folder / 'two/whole/best_checkpoint.json').read_text())
    kept = read_checkpoint(folder / 'two/whole' / best['file'])['state_dict']
    assert kept.keys() == whole['weights'].keys()


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        (dict(type='DeepSpeedStrategy'), 'must be FSDPStrategy or DDPStr'),
        (dict(skip_init_weights=True), 'leave it out, weights are made'),
        (dict(state_dict_cfg='local'), "must be 'full' or left out"),
        (
            dict(model_wrapper=dict(use_orig_params=False)),
            'use_orig_params must be True',
        ),
        (
            dict(model_wrapper=dict(sharding_strategy='NO_SHARD')),
            'must be one of FULL_SHARD, SHARD_GRAD_OP, got NO_SHARD',
        ),
        (
            dict(model_wrapper=dict(ignored_modules=['text'])),
            'ignored_modules: leave it out',
        ),
    ],
)
def test_strategies_that_cannot_be_used(changes, sentence, tmp_path):
    """Said by one process too, which shares nothing out."""
    with pytest.raises(ConfigError, match=sentence):
        build(tmp_path, **options(strategy={**FSDP, **changes}))


def test_one_process_shares_nothing_out(tmp_path):
    assert shares_out(FSDP)
    assert not shares_out(DDP)
    assert not shares_out(None)
    runner = build(tmp_path, **options(strategy=FSDP))
    wrappers = FullyShardedDataParallel, DistributedDataParallel
    assert not isinstance(runner.model, wrappers)
    assert 'strategy: one process wraps' in ''.join(
        path.read_text() for path in tmp_path.rglob('*.log')
    )


def test_a_scaled_loss_is_refused():
    wrapper = AutocastOptimWrapper(
        torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    )
    wrapper.scaler = torch.amp.GradScaler('cpu')
    with pytest.raises(ValueError, match="FSDP needs 'bfloat16' or None"):
        wrapper.share_out(None)
