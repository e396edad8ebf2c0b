"""What is said of validation goes for tests that are the same."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from sparc_vlm.engine.config_overrides import with_tests

SAID = {'val_dataloader.batch_size': 2, 'val_evaluator.0.limit': 7}


def config(**changes):
    loader = dict(batch_size=1, dataset=dict(type='Own'))
    fields = dict(dataloader=loader, evaluator=[dict(type='Task', limit=9)])
    return Config(
        {
            f'{split}_{k}': v
            for split in ('val', 'test')
            for k, v in fields.items()
        }
        | changes
    )


def test_tests_follow_validation():
    cfg = config()
    cfg.merge_from_dict(with_tests(cfg, SAID), allow_list_keys=True)
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator
    assert (cfg.test_dataloader.batch_size, cfg.test_evaluator[0].limit) == (
        2,
        7,
    )
    none = dict.fromkeys(('val_dataloader', 'val_evaluator', 'val_cfg'))
    found = with_tests(config(), none)
    assert found == dict.fromkeys(
        [*none, *(key.replace('val', 'test', 1) for key in none)]
    )


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({}, {'val_cfg.type': 'X', 'train_cfg.max_iters': 3}),
        ({}, {**SAID, 'test_dataloader.batch_size': 5}),
        ({'test_evaluator': [dict(type='Other')]}, SAID),
        ({'test_dataloader': None, 'test_evaluator': None}, SAID),
        (dict.fromkeys(config()), SAID),
    ],
)
def test_they_go_their_own_way_where_they_did_before(changes, said):
    assert with_tests(config(**changes), said) == said
