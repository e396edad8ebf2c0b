"""Rounds of an update are one batch, however long the answers are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper

from sparc_vlm.engine.loops import PretrainLoop
from tests.processes import run_processes
from tests.test_captioning.tiny_captioner import (
    LORA,
    build,
    captioner_cfg,
    pictures,
    training,
)

TURNS = [
    ('what?', 'a'),
    ('what is that?', 'two dogs, and many more words about both of them'),
    ('and?', 'no'),
    ('how many?', 'three or four of them'),
]


class Rows:
    """A loader that gives a batch of conversations each time."""

    batch_size = 1
    pairs_per_epoch = None

    def __init__(self, model, batches):
        self.model = model
        self.batches = batches

    def __iter__(self):
        for rows in self.batches:
            yield dict(
                images=pictures(len(TURNS))[rows],
                chat=training(self.model, *(TURNS[row] for row in rows)),
            )


def moved(language, batches):
    """What an update by gradient descent takes off the trained weights."""
    model = build(captioner_cfg(language, LORA))
    trained = {
        name: weights
        for name, weights in model.named_parameters()
        if weights.requires_grad
    }
    before = {name: w.detach().clone() for name, w in trained.items()}
    wrapper = OptimWrapper(
        torch.optim.SGD(trained.values(), lr=1.0),
        accumulative_counts=len(batches),
    )
    runner = SimpleNamespace(
        model=model,
        optim_wrapper=wrapper,
        seed=0,
        call_hook=lambda *_, **__: None,
    )
    PretrainLoop(runner, Rows(model, batches), max_iters=1).run_iter()
    return {name: before[name] - w.detach() for name, w in trained.items()}


def of_a_process(language):
    """Two rounds, of other lengths in each process."""
    own = [[0], [1]] if torch.distributed.get_rank() else [[2, 3], [0]]
    return moved(language, own)


def compare(found, expected):
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, msg=name, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize('batches', [[[0], [1], [2], [3]], [[0, 2], [1, 3]]])
def test_rounds_have_the_gradients_of_their_joined_batch(
    tiny_language, batches
):
    joined = [sum(batches, [])]
    compare(moved(tiny_language, batches), moved(tiny_language, joined))


def test_rounds_of_several_processes_are_one_batch(tiny_language):
    first, second = run_processes(2, of_a_process, tiny_language)
    mean = {name: (first[name] + second[name]) / 2 for name in first}
    compare(mean, moved(tiny_language, [[2, 3, 0, 0, 1]]))
