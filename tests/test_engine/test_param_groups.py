"""Fewer groups, the same update."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from sparc_vlm.engine.param_groups import GroupingConstructor, merge_groups

WRAPPER = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.5),
)
PARAMWISE = dict(
    norm_decay_mult=0.0,
    bias_decay_mult=0.0,
    custom_keys={'1': dict(lr_mult=0.5)},
)


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1)
    )


def groups(constructor, paramwise):
    wrapper = constructor(dict(WRAPPER), paramwise)(model())
    return wrapper.optimizer.param_groups


def test_a_group_for_each_setting():
    found = groups(GroupingConstructor, PARAMWISE)
    sizes = [
        (g['lr'], g['weight_decay'], [p.numel() for p in g['params']])
        for g in found
    ]
    assert sizes == [
        (0.1, 0.5, [12, 4]),  # the weights that decay
        (0.1, 0.0, [4, 4, 4, 1]),  # biases and the norm
        (0.05, 0.5, [16, 4]),  # '1': by its own rule alone
    ]
    assert len(groups(DefaultOptimWrapperConstructor, PARAMWISE)) == 8


def test_a_line_for_each_group_is_said(log):
    groups(GroupingConstructor, PARAMWISE)
    said = [line for line in log if 'optimizer: ' in line]
    assert [line.split('optimizer: ')[1].strip() for line in said] == [
        '2 parameters, 16 values, as set for all',
        '4 parameters, 13 values, weight_decay 0',
        '2 parameters, 20 values, lr 0.05, weight_decay 0.5, lr_mult 0.5',
    ]
    assert not any('paramwise_options' in line for line in log)


def test_frozen_parameters_are_counted_and_not_warned_of(log):
    frozen = model()
    frozen[0].requires_grad_(False)
    wrapper = GroupingConstructor(dict(WRAPPER), PARAMWISE)(frozen)
    trained = [p for g in wrapper.optimizer.param_groups for p in g['params']]
    assert len(trained) == 6
    assert any('2 parameters, 16 values, frozen' in line for line in log)
    assert not any('skipped' in line for line in log)


def test_nothing_to_tell_apart_is_one_group():
    assert len(groups(GroupingConstructor, None)) == 1


def test_the_update_is_the_same():
    moved = []
    for constructor in (GroupingConstructor, DefaultOptimWrapperConstructor):
        trained = model()
        wrapper = constructor(dict(WRAPPER), copy.deepcopy(PARAMWISE))(trained)
        for step in range(3):
            images = torch.linspace(-1, 1 + step, 6).view(2, 3)
            wrapper.update_params(trained(images).square().mean())
        moved.append(trained.state_dict())
    torch.testing.assert_close(moved[0], moved[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    'rule', [{'bias': dict(decay_mult=1.0)}, {'2.': dict(lr_mult=0.5)}]
)
def test_shared_weights_are_updated_once(rule):
    moved = []
    for constructor in (GroupingConstructor, None):
        torch.manual_seed(0)
        shared = nn.Linear(3, 3)
        trained = nn.Sequential(
            nn.Sequential(shared), nn.Tanh(), nn.Sequential(shared)
        )
        if constructor is None:
            options = dict(lr=0.1, weight_decay=0.5)
            optimizer = torch.optim.AdamW(trained.parameters(), **options)
        else:
            build = constructor(dict(WRAPPER), dict(custom_keys=rule))
            optimizer = build(trained).optimizer
        for _ in range(3):
            optimizer.zero_grad()
            trained(torch.ones(2, 3)).square().mean().backward()
            optimizer.step()
        moved.append(trained.state_dict())
    torch.testing.assert_close(moved[0], moved[1], rtol=0, atol=0)


@pytest.mark.parametrize('other', [dict(lr=1.0), dict(lr=0.5, extra=True)])
def test_other_settings_stay_apart(other):
    first, second = dict(params=[1], lr=0.5), dict(params=[2], **other)
    again = dict(lr=0.5, params=[3])
    assert merge_groups([first, second, again]) == [
        dict(params=[1, 3], lr=0.5),
        second,
    ]
