"""Live bytes: by hand, and against what torch's allocator says."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import profile

from sparc_vlm.cost.memory import MemoryTracker
from sparc_vlm.cost.update import count_update, fill_state
from tests.test_models.tiny_models import build, captions, model_cfg

ARCH = dict(embed_dims=64, num_layers=3, num_heads=2, feedforward_channels=256)
FLOAT = 4


def test_storages_are_counted_once_and_forgotten():
    tracker = MemoryTracker()
    with tracker:
        whole = torch.zeros(100)
        part = whole[10:20].view(2, 5)
        other = torch.zeros(50)
        assert tracker.held == dict(activations=150 * FLOAT)
        del whole, other
        assert tracker.held.total() == 100 * FLOAT  # `part` looks at it
        del part
        assert tracker.held.total() == 0
    assert tracker.peak == dict(activations=150 * FLOAT)


def test_the_step_of_a_linear_layer():
    layer = nn.Linear(20, 30, bias=False)
    images = torch.ones(10, 20)
    tracker = MemoryTracker()
    tracker.claim(layer.parameters(), 'parameters')
    tracker.claim_gradients(layer.parameters())
    with tracker:
        tracker.phase = 'forward'
        loss = layer(images).sum()
        assert tracker.held['parameters'] == 20 * 30 * FLOAT
        assert tracker.held['activations'] == FLOAT  # the sum keeps nothing
        tracker.phase = 'backward'
        loss.backward()
        assert tracker.held['gradients'] == 20 * 30 * FLOAT
    assert tracker.peak_phase == 'backward'
    assert tracker.peak['parameters'] == 20 * 30 * FLOAT


@pytest.fixture
def one_thread():
    """Each thread more has buffers of its own inside some kernels."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures('one_thread')
@pytest.mark.parametrize('dtype', [torch.bfloat16, None])
def test_peak_is_what_the_allocator_saw(dtype):
    """Of a whole update, within 3%."""
    seen = count_update(*real_update(), dtype)
    model, optimizer, batch = real_update()
    before = sum(
        tensor.untyped_storage().nbytes()
        for tensor in [
            *model.parameters(),
            *model.buffers(),
            *(v for s in optimizer.state.values() for v in s.values()),
            batch['images'],
            *batch['tokens'][:2],
        ]
    )
    with profile(profile_memory=True) as recorded:
        with torch.autocast('cpu', dtype, enabled=dtype is not None):
            data = model.data_preprocessor(batch, training=True)
            loss, _ = model.parse_losses(model(**data, mode='loss'))
        del data
        loss.backward()
        optimizer.step()
    peak = before + highest(recorded)
    assert seen.peak_bytes == pytest.approx(peak, rel=0.03)


def real_update():
    """A small model with values, and a batch."""
    cfg = model_cfg(vision=dict(type='SparcViT', arch=ARCH, img_size=32))
    cfg['vision']['patch_size'] = 4
    model = build(cfg).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    fill_state(model, optimizer)
    images = torch.zeros(24, 3, 32, 32, dtype=torch.uint8)
    return model, optimizer, dict(images=images, tokens=captions([7] * 24))


def highest(recorded):
    """Most bytes that were held at once, by the allocator's own events."""
    events = [
        event
        for event in recorded.profiler.kineto_results.events()
        if event.name() == '[memory]'
    ]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    assert most > 0
    return most
