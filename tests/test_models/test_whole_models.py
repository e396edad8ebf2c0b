"""Every objective's whole model on two and three processes, under DDP.

Real gloo processes with uneven shares of a batch against one process with
all of it: what is logged, and every parameter's gradient.
"""

from __future__ import annotations

import pytest
import torch
from mmengine import dist
from torch.nn.parallel import DistributedDataParallel

from sparc_vlm.models import objectives
from sparc_vlm.structures import TokenBatch
from tests.processes import run_processes
from tests.test_models.tiny_models import (
    assert_same,
    build,
    captions,
    model_cfg,
    objective_cfg,
)

LENGTHS = [4, 2, 5, 1, 3, 6, 2]
SHARES = {2: [5, 2], 3: [3, 1, 3]}
# each process would drop other tokens
OPTIONS = {'FILIP': dict(dropped=0.0)}
NAMES = [
    (name, micro_batch)
    for name in objectives.__all__
    for micro_batch in (0, 2)
]


def found(name, micro_batch, sizes):
    """What is logged, and gradients, of this process's share."""
    objective = objective_cfg(name, **OPTIONS.get(name, {}))
    cfg = model_cfg(objective=objective, micro_batch=micro_batch or None)
    bare = build(cfg).double().train()
    model = DistributedDataParallel(bare) if len(sizes) > 1 else bare
    start = sum(sizes[: dist.get_rank()])
    own = slice(start, start + sizes[dist.get_rank()])
    torch.manual_seed(5)
    images = torch.randn(sum(sizes), 3, 32, 32, dtype=torch.float64)
    ids = captions(LENGTHS).ids.split(LENGTHS)
    tokens = TokenBatch.from_lists([part.tolist() for part in ids[own]])
    total, log = bare.parse_losses(model(images[own], tokens, mode='loss'))
    total.backward()
    gradients = {
        key: value.grad
        for key, value in bare.named_parameters()
        if value.requires_grad
    }
    return {key: value.detach() for key, value in log.items()}, gradients


def all_of_them(sizes):
    return [found(*name, sizes) for name in NAMES]


@pytest.fixture(scope='module', params=SHARES, ids='{} processes'.format)
def processes(request):
    """For each objective, what each process found."""
    each = run_processes(request.param, all_of_them, SHARES[request.param])
    return dict(zip(NAMES, zip(*each, strict=True), strict=True))


@pytest.mark.parametrize('name', NAMES, ids='{0[0]} {0[1]}'.format)
def test_processes_equal_the_joined_batch(name, processes):
    log, gradients = found(name[0], 0, [sum(SHARES[2])])
    assert all(value is not None for value in gradients.values())
    for mine, averaged in processes[name]:
        assert_same(averaged, gradients, rtol=1e-6, atol=1e-8)
        for key, value in log.items():
            if 'loss' in key:
                torch.testing.assert_close(
                    mine[key].double(), value.double(), rtol=1e-5, atol=1e-6
                )
