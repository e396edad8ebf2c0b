"""Strategies that cannot be used are refused before anything is read."""

from __future__ import annotations

import pytest

from sparc_vlm.engine import ConfigError, check_config
from tests.test_engine.tiny import config

DDP = dict(type='DDPStrategy')
FSDP = dict(type='FSDPStrategy')
OTHER = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-2),
)
PIECES = 'optim_wrapper.type: FSDP needs AutocastOptimWrapper'


@pytest.mark.parametrize(
    ('strategy', 'sentence'),
    [
        (dict(type='DeepSpeedStrategy'), 'must be FSDPStrategy or DDPStr'),
        (DDP | dict(work_dir='x'), 'strategy.work_dir: leave it out'),
        (FSDP | dict(sync_bn='torch'), 'FSDPStrategy does not read it'),
        (FSDP | dict(state_dict_cfg='local'), "must be 'full' or left out"),
        (
            DDP | dict(model_wrapper=dict(broadcast_bufers=True)),
            'MMDistributedDataParallel takes no broadcast_bufers; did you '
            'mean broadcast_buffers',
        ),
        (
            FSDP | dict(model_wrapper=dict(find_unused_parameters=True)),
            'MMFullyShardedDataParallel takes no find_unused_parameters',
        ),
        (
            FSDP | dict(model_wrapper=dict(type='MMDistributedDataParallel')),
            'must be MMFullyShardedDataParallel or another',
        ),
        (
            FSDP | dict(model_wrapper=dict(backward_prefetch='BEFORE')),
            'must be one of BACKWARD_PRE, BACKWARD_POST, got BEFORE',
        ),
    ],
)
def test_a_strategy_that_cannot_be_used(strategy, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence) as caught:
        check_config(config(tmp_path, strategy=strategy))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        (dict(sync_bn='torch'), 'put it into strategy, which must be DDP'),
        (dict(find_unused_parameters=True), 'into strategy.model_wrapper'),
        (dict(model_wrapper_cfg=dict(static_graph=True)), 'or name it strat'),
        (dict(optim_wrapper=OTHER), PIECES),
        ({'optim_wrapper.dtype': 'float16'}, "needs 'bfloat16' or None"),
    ],
)
def test_what_a_strategy_would_leave_unread(changes, sentence, tmp_path):
    cfg = config(tmp_path, **changes)
    check_config(cfg)
    cfg.strategy = FSDP
    with pytest.raises(ConfigError, match=sentence):
        check_config(cfg)


@pytest.mark.parametrize(
    'strategy',
    [
        DDP,
        DDP | dict(sync_bn='torch'),
        DDP | dict(model_wrapper=dict(find_unused_parameters=True)),
        FSDP,
        FSDP | dict(model_wrapper=dict(auto_wrap_policy=dict(
            type='wrap_layers'), backward_prefetch='BACKWARD_POST',
            limit_all_gathers=True)),
    ],
)  # fmt: skip
def test_a_strategy_that_can_be_used(strategy, tmp_path):
    check_config(config(tmp_path, strategy=strategy))
