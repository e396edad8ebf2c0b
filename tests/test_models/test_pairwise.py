"""The blockwise contrast: blocks of any shape, kept or made again."""

import pytest
import torch
from torch.nn import functional as F

from sparc_vlm.models import contrastive
from sparc_vlm.models.cosine import CosineScores
from sparc_vlm.models.pairwise import (
    Joined,
    block_shape,
    pairwise_info_nce,
    pairwise_sigmoid,
)
from tests.test_models.twins import global_loss


class Spy(CosineScores):
    """Counts its calls and says what autocast was when they came."""

    def __init__(self):
        self.autocast = []

    def __call__(self, rows, columns, shared):
        self.autocast.append(torch.is_autocast_enabled('cpu'))
        return super().__call__(rows, columns, shared)

    def pair_bytes(self, rows, columns):
        return 1


class TwoWays(CosineScores):
    """Another score for each direction."""

    def __call__(self, rows, columns, shared):
        scores = super().__call__(rows, columns, shared)
        return scores, scores**2

    def pair_bytes(self, rows, columns):
        return 1


def embeddings(count, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, 5, generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_(),
        torch.randn(count, 5, generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_(),
        torch.tensor(4.0, dtype=dtype, requires_grad=True),
    )


def info_nce(inputs, budget=None, order=None, scores=None):
    image, text, scale = inputs
    joined = Joined([len(image)], 0)
    scores = scores or Spy()
    return pairwise_info_nce(
        scores, (image,), (text,), (scale,), joined, order, budget
    )


def assert_same(got, expected, inputs):
    torch.testing.assert_close(got, expected)
    for mine, slow in zip(
        torch.autograd.grad(got, inputs),
        torch.autograd.grad(expected, inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, slow)


@pytest.mark.parametrize('count', [1, 2, 7, 33])
@pytest.mark.parametrize('budget', [None, 1, 12, 50])
@pytest.mark.parametrize('is_ordered', [False, True])
def test_blocks_of_any_shape_give_the_loss(count, budget, is_ordered):
    inputs = embeddings(count)
    order = torch.randperm(count) if is_ordered else None
    got = info_nce(inputs, budget, order)
    assert_same(got, global_loss(*inputs), inputs)


@pytest.mark.parametrize('budget', [None, 12])
def test_each_direction_takes_its_own_matrix(budget):
    inputs = embeddings(7)
    image, text, scale = inputs
    scores = scale * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    own = torch.arange(7)
    rows = F.cross_entropy(scores, own)
    columns = F.cross_entropy((scores**2).T, own)
    assert abs(rows - columns) > 0.05
    got = info_nce(inputs, budget, scores=TwoWays())
    assert_same(got, (rows + columns) / 2, inputs)


@pytest.mark.parametrize('budget', [None, 12])
def test_sigmoid_in_blocks(budget):
    inputs = embeddings(7)
    image, text, scale = inputs
    got = pairwise_sigmoid(
        Spy(), (image,), (text,), (scale,), Joined([7], 0), budget
    )
    scores = scale * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    signs = 2 * torch.eye(7, dtype=torch.float64) - 1
    assert_same(got, -F.logsigmoid(signs * scores).sum() / 7, inputs)


def test_one_block_is_not_made_twice():
    inputs = embeddings(6)
    spy = Spy()
    loss = info_nce(inputs, 36, scores=spy)
    assert len(spy.autocast) == 1
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    assert len(spy.autocast) == 1
    # A second time around it has to be made again.
    again = torch.autograd.grad(loss, inputs)
    assert len(spy.autocast) == 2
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other)


def test_many_blocks_are_made_twice_under_the_same_autocast():
    inputs = embeddings(6, torch.float32)
    spy = Spy()
    with torch.autocast('cpu', torch.bfloat16):
        loss = info_nce(inputs, 9, scores=spy)
    blocks = len(spy.autocast)
    assert blocks > 1
    loss.backward()
    assert spy.autocast == [True] * 2 * blocks
    spy = Spy()
    info_nce(inputs, 9, scores=spy).backward()
    assert spy.autocast == [False] * 2 * blocks


def test_nothing_is_recorded_without_gradients():
    inputs = [value.detach() for value in embeddings(6)]
    assert not info_nce(inputs, 9).requires_grad
    with torch.no_grad():
        assert not info_nce(embeddings(6)).requires_grad


@pytest.mark.parametrize('frozen', [0, 1, 2])
@pytest.mark.parametrize('budget', [None, 9])
def test_some_inputs_may_be_frozen(frozen, budget):
    inputs = list(embeddings(6))
    expected = torch.autograd.grad(global_loss(*inputs), inputs)
    inputs[frozen] = inputs[frozen].detach()
    info_nce(inputs, budget).backward()
    assert inputs[frozen].grad is None
    for place in {0, 1, 2} - {frozen}:
        torch.testing.assert_close(inputs[place].grad, expected[place])


def test_gradients_of_many_blocks_are_added_in_float32():
    # 4000 blocks of bf16 gradients, whose running sum in bf16 would stall.
    inputs = embeddings(64, torch.bfloat16)
    found = torch.autograd.grad(info_nce(inputs, 1), inputs)
    exact = [value.detach().double().requires_grad_() for value in inputs]
    expected = torch.autograd.grad(global_loss(*exact), exact)
    for mine, right in zip(found, expected, strict=True):
        error = (mine.double() - right).norm() / right.norm()
        assert error < 0.006


def test_the_gradient_from_above_is_passed_on():
    inputs = embeddings(6)
    assert_same(3 * info_nce(inputs, 9), 3 * global_loss(*inputs), inputs)


@pytest.mark.parametrize(
    ('rows', 'columns', 'pair_bytes', 'budget'),
    [
        (4096, 4096, 86240, 64 * 2**20),
        (3, 4096, 100, 10**6),
        (4096, 3, 100, 10**6),
        (5, 5, 100, 1),
        (5, 5, 1, 10**9),
        (1, 1, 7, 7),
    ],
)
def test_blocks_stay_within_the_budget(rows, columns, pair_bytes, budget):
    high, wide = block_shape(rows, columns, pair_bytes, budget)
    assert 1 <= high <= rows
    assert 1 <= wide <= columns
    pairs = high * wide
    assert pairs * pair_bytes <= budget or pairs == 1
    # and they use most of it, unless there is nothing more to put in
    assert pairs == rows * columns or pairs >= 0.7 * (budget // pair_bytes)


def test_clip_uses_blocks_from_some_size_on(monkeypatch):
    inputs = embeddings(9)
    plain = contrastive.batch_info_nce(*inputs)
    monkeypatch.setattr(contrastive, 'PLAIN_UP_TO', 80)
    in_blocks = contrastive.batch_info_nce(*inputs)
    assert 'Pairwise' in type(in_blocks.grad_fn).__name__
    assert 'Pairwise' not in type(plain.grad_fn).__name__
    assert_same(in_blocks, plain, inputs)
