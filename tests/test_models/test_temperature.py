"""Learned temperatures: the shared one, and the local losses' own."""

import dataclasses

import pytest
import torch

from sparc_vlm.errors import UsageError
from sparc_vlm.models.objectives import SPARC
from sparc_vlm.models.temperature import (
    MAX_LOGIT_SCALE,
    keep_in_range,
    learned_log_scale,
    logit_scale,
)
from tests.test_models.twins import global_loss, local_loss, random_pairs

LENGTHS = [4, 1, 3]


def test_it_starts_where_it_is_told():
    scale = logit_scale(learned_log_scale(0.07))
    torch.testing.assert_close(scale, torch.tensor(1 / 0.07))


def test_its_inverse_never_passes_100_and_can_come_back():
    log_scale = learned_log_scale(0.001)
    assert logit_scale(log_scale) == MAX_LOGIT_SCALE
    keep_in_range(log_scale)
    logit_scale(log_scale).backward()
    assert log_scale.grad > 99


@pytest.mark.parametrize('temperature', [0, -0.1, float('nan'), float('inf')])
def test_it_is_above_0(temperature):
    with pytest.raises(UsageError, match='temperature must be above 0'):
        SPARC(local_temperature=temperature)


@pytest.mark.parametrize('cross_image', [0, 2])
def test_the_local_losses_have_their_own(cross_image):
    pairs = random_pairs(LENGTHS)
    own = dataclasses.replace(
        pairs, logit_scale=torch.tensor(20.0, dtype=torch.float64)
    )
    objective = SPARC(local_temperature=0.05, cross_image=cross_image)
    got = objective.double()(pairs)
    shared = SPARC(cross_image=cross_image)(own)
    torch.testing.assert_close(got['loss_local'], local_loss(own))
    for name in ('loss_local', 'loss_cross_image', 'rolled_local'):
        if name in shared:
            torch.testing.assert_close(got[name], shared[name])
    expected = global_loss(pairs.image, pairs.text, pairs.logit_scale) / 2
    torch.testing.assert_close(got['loss_global'], expected)
    assert got['local_temperature'].item() == pytest.approx(0.05)
    assert not got['local_temperature'].requires_grad
    assert 'local_temperature' not in shared


def test_each_temperature_is_moved_by_its_own_loss():
    pairs = random_pairs(LENGTHS)
    objective = SPARC(local_temperature=0.2)
    losses = objective(pairs)
    both = [pairs.logit_scale, objective.local_log_scale]
    for name, is_local in (('loss_global', False), ('loss_local', True)):
        found = torch.autograd.grad(losses[name], both, allow_unused=True)
        unused, moved = found if is_local else found[::-1]
        assert unused is None
        assert moved.abs() > 0


def test_an_own_one_beyond_the_bound_is_taken_back():
    objective = SPARC(local_temperature=0.001)
    losses = objective(random_pairs(LENGTHS))
    losses['loss_local'].backward()
    assert objective.local_log_scale.grad.abs() > 0
