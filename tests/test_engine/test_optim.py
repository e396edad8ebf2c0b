import copy
import math

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from sparc_vlm.engine.optim import AutocastOptimWrapper, NonFiniteError


def wrapped(dtype=None, lr=0.1, **options):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    return model, AutocastOptimWrapper(optimizer, dtype=dtype, **options)


def loss_of(model, scale=1.0):
    return scale * model(torch.ones(2, 3)).square().mean()


def snapshot(model, wrapper):
    return copy.deepcopy([model.state_dict(), wrapper.optimizer.state_dict()])


def assert_same(first, second):
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [None, 'bfloat16'])
def test_products_run_in_the_dtype_asked_for(dtype):
    model, wrapper = wrapped(dtype)
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 3))
    assert out.dtype == (torch.bfloat16 if dtype else torch.float32)
    assert model.weight.dtype == torch.float32


def test_several_backwards_add_up_without_division():
    model, wrapper = wrapped()
    losses = [loss_of(model, scale) for scale in (1.0, 2.0, 5.0)]
    for loss in losses:
        wrapper.backward(loss)
    other, _ = wrapped()
    sum(loss_of(other, scale) for scale in (1.0, 2.0, 5.0)).backward()
    assert_same(model.weight.grad, other.weight.grad)


def test_norm_is_logged_and_clipping_is_torchs():
    model, wrapper = wrapped(clip_grad=dict(max_norm=0.1))
    wrapper.backward(loss_of(model, 50.0))
    twin, _ = wrapped()
    loss_of(twin, 50.0).backward()
    norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.1)
    wrapper.step()
    assert_same(model.weight.grad, twin.weight.grad)
    logged = MessageHub.get_current_instance().get_scalar('train/grad_norm')
    assert math.isclose(logged.current(), float(norm), rel_tol=1e-6)


def test_values_can_be_clipped_too():
    model, wrapper = wrapped(clip_grad=dict(type='value', clip_value=0.01))
    wrapper.backward(loss_of(model, 50.0))
    wrapper.step()
    assert model.weight.grad.abs().max() <= 0.01


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
@pytest.mark.parametrize('where', ['loss', 'gradient'])
def test_a_step_that_is_not_finite_changes_nothing(bad, where):
    model, wrapper = wrapped()
    wrapper.update_params(loss_of(model))
    before = snapshot(model, wrapper)
    loss = loss_of(model)
    if where == 'loss':
        # The gradient of a constant is finite, the loss is not.
        loss = loss + bad
    else:
        model.weight.register_hook(lambda g: g * bad)
    wrapper.update_params(loss)
    assert_same(snapshot(model, wrapper), before)
    assert (wrapper.skipped, wrapper.skipped_in_a_row) == (1, 1)
    assert wrapper.last_step_skipped
    assert model.weight.grad is None  # and nothing is carried over
    hub = MessageHub.get_current_instance()
    assert hub.get_info('skipped_steps') == 1
    if where == 'loss':
        wrapper.update_params(loss_of(model))
        assert (wrapper.skipped, wrapper.skipped_in_a_row) == (1, 0)
        assert not torch.equal(model.weight, before[0]['weight'])


def test_one_bad_loss_among_several_is_enough():
    model, wrapper = wrapped()
    before = snapshot(model, wrapper)
    wrapper.backward(loss_of(model) + float('nan'))
    wrapper.backward(loss_of(model))
    wrapper.step()
    assert_same(snapshot(model, wrapper), before)


def test_many_in_a_row_stop_the_run_and_name_the_checkpoint():
    model, wrapper = wrapped(max_skipped_in_a_row=3)
    MessageHub.get_current_instance().update_info('last_ckpt', 'a/iter_9.pth')
    for _ in range(2):
        wrapper.update_params(loss_of(model) * float('nan'))
    advice = r'3 steps.*a/iter_9\.pth.*resume .*dtype.*new run .*lower'
    with pytest.raises(NonFiniteError, match=advice):
        wrapper.update_params(loss_of(model) * float('nan'))


def test_accumulation_divides_as_mmengine_does():
    model, wrapper = wrapped(accumulative_counts=2)
    start = model.weight.clone()
    wrapper.update_params(loss_of(model, 1.0))
    assert torch.equal(model.weight, start)
    held = model.weight.grad.clone()
    wrapper.update_params(loss_of(model, 3.0))
    assert not torch.equal(model.weight, start)
    twin, _ = wrapped()
    (loss_of(twin, 1.0) / 2).backward()
    assert_same(held, twin.weight.grad)


def test_counts_and_optimizer_go_through_a_state_dict():
    model, wrapper = wrapped()
    wrapper.update_params(loss_of(model))
    wrapper.update_params(loss_of(model) * float('nan'))
    other, twin = wrapped()
    other.load_state_dict(model.state_dict())
    twin.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    assert (twin.skipped, twin.skipped_in_a_row) == (1, 1)
    wrapper.update_params(loss_of(model))
    twin.update_params(loss_of(other))
    assert_same(snapshot(other, twin), snapshot(model, wrapper))


def test_a_state_of_mmengines_own_wrapper_is_taken():
    model, wrapper = wrapped()
    wrapper.load_state_dict(
        torch.optim.AdamW(model.parameters(), lr=0.5).state_dict()
    )
    assert wrapper.get_lr() == {'lr': [0.5]}
    assert wrapper.skipped == 0


def test_what_cannot_work_is_said():
    with pytest.raises(ValueError, match='needs a GPU'):
        wrapped('float16')
    with pytest.raises(ValueError, match='one of bfloat16'):
        wrapped('float15')
