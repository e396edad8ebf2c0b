"""Memory of losses over all pairs grows with the batch, not its square."""

import pytest
import torch

from sparc_vlm.models import contrastive
from sparc_vlm.models.objectives import CLIP, FILIP, PACL, GLoRIA, SigLIP
from tests.test_models.peaks import peak_bytes
from tests.test_models.twins import leaves, random_pairs

SMALL, LARGE = 64, 256
OBJECTIVES = {
    'clip': lambda budget: CLIP(),
    'filip': lambda budget: FILIP(1.0, 0.5, budget=budget),
    'pacl': lambda budget: PACL(budget=budget),
    'gloria': lambda budget: GLoRIA(budget=budget),
    'siglip': lambda budget: SigLIP(budget=budget),
}


def peak(objective, batch):
    """Of forward and backward, the gradients of all inputs included."""
    pairs = random_pairs([5, 3] * (batch // 2), 8, 16, dtype=torch.float32)

    def step():
        losses = objective(pairs)
        sum(v for k, v in losses.items() if 'loss' in k).backward()
        assert pairs.image.grad is not None or pairs.patches.grad is not None

    return peak_bytes(step)


def test_the_measure_sees_every_allocation():
    kept = []
    found = peak_bytes(lambda: kept.append(torch.zeros(1000)))
    assert found == 4000
    halves = peak_bytes(lambda: [torch.zeros(1000) + 1 for _ in range(3)][0])
    assert 16000 <= halves < 20000


@pytest.mark.parametrize('name', OBJECTIVES)
def test_memory_grows_linearly_with_the_batch(name, monkeypatch):
    monkeypatch.setattr(contrastive, 'PLAIN_UP_TO', 0)
    monkeypatch.setattr('sparc_vlm.models.pairwise.CPU_BUDGET', 2**17)
    objective = OBJECTIVES[name](2**17)
    small, large = peak(objective, SMALL), peak(objective, LARGE)
    assert large <= 1.05 * LARGE / SMALL * small
    # The measure would show the square: here everything is one block.
    monkeypatch.setattr(contrastive, 'PLAIN_UP_TO', 2**40)
    whole = OBJECTIVES[name](2**40)
    quadratic = peak(whole, LARGE)
    assert quadratic >= 7 * peak(whole, SMALL)
    assert quadratic > 2 * large


@pytest.mark.parametrize('name', ['filip', 'pacl', 'gloria'])
def test_beyond_inputs_and_gradients_it_takes_a_block(name):
    budget = 2**18
    objective = OBJECTIVES[name](budget)
    pairs = random_pairs([5, 3] * 64, 8, 64, dtype=torch.float32)
    gradients = sum(leaf.numel() * 4 for leaf in leaves(pairs)[:4])
    for leaf in leaves(pairs):
        leaf.grad = None

    def step():
        losses = objective(pairs)
        sum(v for k, v in losses.items() if 'loss' in k).backward()

    # What the score makes of a block's own rows and columns comes on top.
    assert peak_bytes(step) <= gradients + 3 * budget
