"""Operations of known shapes, by hand."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from sparc_vlm.cost.abstract import AbstractRun
from sparc_vlm.cost.count import flop_counter
from sparc_vlm.models.attention import attend
from sparc_vlm.models.contrastive import batch_info_nce

B, N, C, HEADS = 3, 10, 8, 2


def counted(run, function):
    counter = flop_counter()
    with run.running(), counter:
        function()
    return counter.get_total_flops()


def test_a_linear_layer():
    run = AbstractRun()
    layer = run.build(lambda: nn.Linear(C, 5))
    images = run.empty(B, C, dtype=torch.float32)
    forward = 2 * B * C * 5
    assert counted(run, lambda: layer(images)) == forward
    # the input takes no gradient, so that backwards is the weight's alone
    assert counted(run, lambda: layer(images).sum().backward()) == 2 * forward
    images.requires_grad_(True)
    assert counted(run, lambda: layer(images).sum().backward()) == 3 * forward


def test_attention():
    for is_accelerator, backward in ((True, 5), (False, 4)):
        run = AbstractRun(is_accelerator=is_accelerator)
        query = run.empty(B, HEADS, N, C, dtype=torch.float32)
        query.requires_grad_(True)
        product = 2 * B * HEADS * N * N * C

        def attended(query=query):
            return attend(query, query, query).sum()

        assert counted(run, attended) == 2 * product
        both = counted(run, lambda a=attended: a().backward())
        assert both == (2 + backward) * product


def test_elements_are_not_counted():
    run = AbstractRun()
    values = run.empty(B, C, dtype=torch.float32)
    assert counted(run, lambda: F.gelu(values).softmax(-1)) == 0


def test_the_matrix_of_clip_over_processes():
    """Own rows against those of all, both directions, three products each."""
    for processes in (1, 4):
        run = AbstractRun(processes)
        image, text = (
            run.empty(B, C, dtype=torch.float32).requires_grad_(True)
            for _ in range(2)
        )
        scale = run.empty(dtype=torch.float32)

        def both(image=image, text=text, scale=scale):
            batch_info_nce(image, text, scale).backward()

        product = 2 * B * (processes * B) * C
        assert counted(run, both) == 2 * 3 * product
