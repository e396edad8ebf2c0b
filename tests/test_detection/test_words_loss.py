"""The loss against slow twins in float64."""

from itertools import permutations

import pytest
import torch

from sparc_vlm.detection.words.loss import WordLoss
from sparc_vlm.detection.words.matching import (
    PatchPredictions,
    match,
)
from sparc_vlm.detection.words.objects import Targets, merge_boxes
from tests.processes import run_processes

ALPHA, GAMMA = 0.3, 2.0


def corners(box):
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def giou(one, other):
    a, b = corners(one), corners(other)
    across = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    down = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    both = across * down
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    union = sum(areas) - both
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (
        max(a[3], b[3]) - min(a[1], b[1])
    )
    return both / union - (hull - union) / hull


def focal(logit, is_right):
    chance = 1 / (1 + torch.exp(-logit))
    if is_right:
        return -ALPHA * (1 - chance) ** GAMMA * chance.log()
    return -(1 - ALPHA) * chance**GAMMA * (1 - chance).log()


def cost(box, logits, target):
    label = sum(focal(each, True) - focal(each, False) for each in logits)
    return label + sum(abs(box - target)) - giou(box, target)


def slow_loss(predictions, targets, asked, incomplete):
    """All pairings tried; every sum written out."""
    boxes, logits = predictions.boxes.double(), predictions.logits.double()
    total = dict.fromkeys(('word', 'box', 'overlap'), 0)
    for b, target in enumerate(targets):
        patches = predictions.mask[b].nonzero().flatten().tolist()
        wanted = target.boxes.double()
        pairs = min(
            permutations(patches, len(wanted)),
            key=lambda chosen: sum(
                cost(boxes[b, p], logits[b, p, target.words[n]], wanted[n])
                for n, p in enumerate(chosen)
            ),
        )
        right = {
            (p, word)
            for n, p in enumerate(pairs)
            for word in target.words[n].nonzero().flatten().tolist()
        }
        for n, patch in enumerate(pairs):
            total['box'] += sum(abs(boxes[b, patch] - wanted[n]))
            total['overlap'] += 1 - giou(boxes[b, patch], wanted[n])
        for patch in patches:
            for word in asked[b].nonzero().flatten().tolist():
                is_right = (patch, word) in right
                if is_right or not incomplete[b, word]:
                    total['word'] += focal(logits[b, patch, word], is_right)
    count = max(sum(len(target.boxes) for target in targets), 1)
    return {f'loss_{key}': value / count for key, value in total.items()}


def some_words(objects, words):
    """(N, Q) bool: one, two or three of the first three words."""
    own = torch.zeros(objects, words, dtype=torch.bool)
    own[range(objects), torch.randint(0, 3, (objects,))] = True
    own[:, :3] |= torch.rand(objects, 3) < 0.3
    return own


def batch(counts=(3, 0, 2), patches=6, words=4, seed=0):
    """Predictions and targets of pictures with so many boxes."""
    torch.manual_seed(seed)
    pictures = len(counts)
    mask = torch.ones(pictures, patches, dtype=torch.bool)
    mask[-1, 4:] = False
    predictions = PatchPredictions(
        (torch.rand(pictures, patches, 4) * 0.4 + 0.3).requires_grad_(),
        torch.randn(pictures, patches, words).requires_grad_(),
        mask,
        torch.full((pictures, 4), 64),
    )
    asked = torch.ones(pictures, words, dtype=torch.bool)
    asked[-1, 3] = False
    targets = [
        Targets(torch.rand(n, 4) * 0.4 + 0.3, some_words(n, words))
        for n in counts
    ]
    return predictions, targets, asked, torch.zeros_like(asked)


def gradients(losses, predictions):
    total = sum(value for key, value in losses.items() if 'loss' in key)
    return torch.autograd.grad(total, predictions[:2])


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('counts', [(3, 0, 2), (0, 0, 0), (1, 2, 4)])
def test_against_a_slow_twin(counts, seed):
    predictions, targets, asked, incomplete = batch(counts, seed=seed)
    incomplete[0, 1] = True
    losses = WordLoss()(predictions, targets, asked, incomplete)
    slow = slow_loss(predictions, targets, asked, incomplete)
    for key, value in slow.items():
        assert losses[key].item() == pytest.approx(
            torch.as_tensor(value).item(), rel=1e-4
        )
    assert float(losses['boxes']) == pytest.approx(sum(counts) / 3)
    found = gradients(losses, predictions)
    twins = torch.autograd.grad(
        sum(slow.values()), predictions[:2], allow_unused=True
    )
    for one, twin in zip(found, twins, strict=True):
        twin = torch.zeros_like(one) if twin is None else twin
        torch.testing.assert_close(one, twin, rtol=1e-3, atol=1e-5)


def of_two_words(*logits):
    """The loss of a patch on an object of two words, beside one on nothing."""
    boxes = torch.tensor([[4.0, 4, 20, 20], [4, 4, 20, 20]])
    merged, words = merge_boxes(boxes, torch.tensor([0, 1]), 2)
    box = torch.tensor([12.0, 12, 16, 16]) / 64
    predictions = PatchPredictions(
        torch.stack([box, box + 0.4])[None],
        torch.tensor([[logits, (-6.0, -6.0)]]),
        torch.ones(1, 2, dtype=torch.bool),
        torch.full((1, 4), 64),
    )
    assert len(merged) == 1
    targets = [Targets(box[None], words)]
    asked = torch.ones(1, 2, dtype=torch.bool)
    losses = WordLoss()(predictions, targets, asked, ~asked)
    assert losses['boxes'] == 1
    return losses['loss_word']


def test_two_words_of_one_object_are_both_right():
    assert of_two_words(4.0, 4.0) < of_two_words(4.0, -6.0)
    assert of_two_words(4.0, 4.0) < of_two_words(-6.0, 4.0)


def test_boxes_that_coincide_are_one_object():
    box, near, far = [0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8.9]
    boxes = torch.tensor([box, near, far, box, [20, 0, 30, 10]]).float()
    found, words = merge_boxes(boxes, torch.tensor([0, 2, 1, 0, 2]), 4)
    assert found.tolist() == [box, pytest.approx(far), [20, 0, 30, 10]]
    assert [row.nonzero().flatten().tolist() for row in words] == [
        [0, 2],
        [1],
        [2],
    ]
    for labels in ([], [1]):
        boxes = torch.rand(len(labels), 4)
        found, words = merge_boxes(
            boxes, torch.tensor(labels, dtype=torch.long), 2
        )
        assert torch.equal(found, boxes)
        assert words.shape == (len(labels), 2)


def test_the_cost_of_words_is_exact_under_autocast():
    predictions, targets, *_ = batch((5, 3, 4), seed=2)
    plain = match(WordLoss().assigner, predictions, targets)
    with torch.autocast('cpu', torch.bfloat16):
        inside = match(WordLoss().assigner, predictions, targets)
    for one, other in zip(plain, inside, strict=True):
        assert torch.equal(one, other)


def test_padding_and_words_not_asked_for_change_nothing():
    predictions, targets, asked, incomplete = batch()
    before = WordLoss()(predictions, targets, asked, incomplete)
    with torch.no_grad():
        predictions.logits[-1, :, 3] = 30
        predictions.logits[-1, 4:] = 30
        predictions.boxes[-1, 4:] = 0.9
    after = WordLoss()(predictions, targets, asked, incomplete)
    for key in before:
        assert torch.equal(before[key], after[key])


def test_more_boxes_than_patches():
    predictions, targets, *_ = batch((7, 0, 5), seed=1)
    found = match(WordLoss().assigner, predictions, targets)
    assert found.pictures.tolist() == [0] * 6 + [2] * 4
    for picture, patches in ((0, 6), (2, 4)):
        own = found.pictures == picture
        assert sorted(found.patches[own].tolist()) == list(range(patches))
        assert len(found.boxes[own].unique(dim=0)) == patches


def test_values_that_are_not_finite_do_not_stop_a_run():
    predictions, targets, asked, incomplete = batch()
    with torch.no_grad():
        predictions.logits[0, 0, 0] = float('nan')
        predictions.boxes[0, 1, 2] = float('inf')
    losses = WordLoss()(predictions, targets, asked, incomplete)
    assert not losses['loss_word'].isfinite()


def own_gradients():
    """Of a process that has one picture of three, or two."""
    rows = slice(0, 1) if torch.distributed.get_rank() == 0 else slice(1, 3)
    predictions, targets, asked, incomplete = batch()
    part = PatchPredictions(*(value[rows] for value in predictions))
    losses = WordLoss()(part, targets[rows], asked[rows], incomplete[rows])
    return gradients(losses, predictions)


def test_the_mean_over_processes_is_the_joined_batch():
    predictions, *rest = batch()
    whole = gradients(WordLoss()(predictions, *rest), predictions)
    parts = run_processes(2, own_gradients)
    for joined, one, other in zip(whole, *parts, strict=True):
        torch.testing.assert_close((one + other) / 2, joined)
