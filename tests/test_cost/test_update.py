"""Costs of whole updates: without values, over batch and devices."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from sparc_vlm.cost import Setting, update_costs
from sparc_vlm.cost.update import count_update, fill_state
from tests.test_models.tiny_models import build, captions, model_cfg

TOKENS = 9


def config(objective='CLIP', **changes):
    optimizer = dict(type='AdamW', lr=1e-3, fused=True)
    return Config(
        dict(
            model=model_cfg(objective=dict(type=objective), **changes),
            optim_wrapper=dict(optimizer=optimizer),
        )
    )


def cost(objective, batch, devices=1, **options):
    setting = Setting(batch, devices, TOKENS, **options)
    return update_costs(config(objective), setting)[0]


@pytest.mark.parametrize('objective', ['CLIP', 'SPARC'])
def test_as_the_same_update_with_values(objective):
    """Operations to the last one; memory but for how gradients arrive."""
    found = cost(objective, 6, machine='cpu')
    model = build(config(objective).model.to_dict()).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    fill_state(model, optimizer)
    batch = dict(
        images=torch.zeros(6, 3, 32, 32, dtype=torch.uint8),
        tokens=captions([TOKENS] * 6),
    )
    real = count_update(model, optimizer, batch, torch.bfloat16)
    assert found.flops == real.flops
    assert found.kept == real.kept
    assert found.peak['parameters'] == real.peak['parameters']
    assert found.peak_bytes == pytest.approx(real.peak_bytes, rel=0.01)


@pytest.mark.parametrize('objective', ['CLIP', 'SPARC'])
def test_linear_in_the_local_batch_but_for_the_matrix(objective):
    """What is left over the encoders is CLIP's matrix, six products of it."""
    small, large = (cost(objective, b, devices=2) for b in (4, 8))
    width = 8

    def matrix(batch):
        return 6 * 2 * (batch // 2) * batch * width

    assert large.flops - matrix(8) == 2 * (small.flops - matrix(4))


def test_a_share_of_the_batch_is_what_a_device_pays():
    alone, shared = cost('CLIP', 4, devices=1), cost('CLIP', 8, devices=2)
    matrix = 6 * 2 * 4 * 8
    assert shared.flops - alone.flops == matrix * (8 - 4)


def test_optimizer_and_gradients():
    cfg = config()
    found = cost('CLIP', 2, dtype='fp32')
    model = build(cfg.model.to_dict())
    parameters = sum(p.numel() for p in model.parameters())
    buffers = sum(b.numel() for b in model.buffers())
    assert found.peak['parameters'] == 4 * (parameters + buffers)
    count = len(list(model.parameters()))
    # AdamW: two averages of every parameter, and how often it was updated
    assert found.peak['optimizer'] == 4 * (2 * parameters + count)


def test_fewer_bytes_in_half_precision_and_with_fused_attention():
    whole = cost('CLIP', 16, dtype='fp32').kept
    assert cost('CLIP', 16).kept < 0.85 * whole
    assert whole < cost('CLIP', 16, dtype='fp32', machine='cpu').kept


def test_mistakes_are_said():
    for wrong, said in (
        (dict(batch_size=0), 'at least 1'),
        (dict(batch_size=10, devices=4), 'cannot be shared evenly'),
        (dict(batch_size=4, devices=2, tokens=0), 'tokens must be'),
        (dict(batch_size=4, devices=2, dtype='int8'), 'dtype must be one of'),
        (dict(batch_size=4, devices=2, machine='tpu'), 'machine must be'),
    ):
        with pytest.raises(ValueError, match=said):
            Setting(**wrong)
    with pytest.raises(ValueError, match='at most 9'):
        update_costs(config(), Setting(2, 1, tokens=10))
