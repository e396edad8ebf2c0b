"""Logistic regression on frozen features, fitted by L-BFGS.

Gone through in chunks of rows, so that memory holds the features once and
never all of the logits. In float64: what is measured is the features, not
how far a solver got.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.task import Progress

ROWS = 4096
PENALTIES = tuple(10.0**power for power in range(-5, 2))
"""Multiples of half the squared weights, against the mean loss of a row."""


@dataclass(frozen=True)
class LinearClassifier:
    """Scores of C classes from D features.

    Attributes:
        weights: (D, C), for features that were shifted and scaled.
        bias: (C,).
        mean: (D,) of the features that it was fitted to.
        scale: (D,) their standard deviation.
    """

    weights: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """(N, C) logarithms of probabilities, float32 on the CPU.

        Args:
            features: (N, D).
        """
        rows = features.to(self.weights) - self.mean
        logits = rows / self.scale @ self.weights + self.bias
        return logits.log_softmax(1).to('cpu', torch.float32)

    def measure(self, features: Tensor, labels: Tensor) -> tuple[float, float]:
        """Accuracy, and mean loss, on some rows.

        Args:
            features: (N, D).
            labels: (N,).
        """
        right, loss = 0, 0.0
        for start in range(0, len(labels), ROWS):
            own = labels[start : start + ROWS]
            scores = self.scores(features[start : start + ROWS])
            right += int((scores.argmax(1) == own).sum())
            loss -= float(scores.gather(1, own[:, None]).sum())
        return right / len(labels), loss / len(labels)


def fit_classifier(
    features: Tensor,
    labels: Tensor,
    classes: int,
    penalty: float,
    start: LinearClassifier | None = None,
    device: str = 'cpu',
    max_iter: int = 300,
) -> LinearClassifier:
    """Minimises the mean cross-entropy + penalty / 2 * sum of W squared.

    Each feature is shifted and scaled to mean 0 and deviation 1 first, so
    that a penalty means the same for every model. The bias is free.

    Args:
        features: (N, D) float32.
        labels: (N,) integers below `classes`.
        classes: How many there are.
        penalty: At least 0.
        start: Where to begin; the result is the same, sooner.
        device: Where it is computed.
        max_iter: At most so many steps of L-BFGS.
    """
    mean, scale = _moments(features, device)
    sizes = features.shape[1], classes
    if start is None:
        weights = torch.zeros(sizes, dtype=torch.float64, device=device)
        bias = torch.zeros(classes, dtype=torch.float64, device=device)
    else:
        weights, bias = start.weights.clone(), start.bias.clone()
    weights.grad, bias.grad = torch.zeros_like(weights), torch.zeros_like(bias)

    def closure() -> Tensor:
        loss = penalty / 2 * weights.square().sum()
        weights.grad.copy_(penalty * weights)
        bias.grad.zero_()
        for at in range(0, len(labels), ROWS):
            rows = features[at : at + ROWS].to(weights)
            rows = (rows - mean) / scale
            own = labels[at : at + ROWS].to(device)[:, None]
            logs = (rows @ weights + bias).log_softmax(1)
            loss = loss - logs.gather(1, own).sum() / len(labels)
            # of the loss by the logits: probability, minus 1 for the label
            slope = logs.exp()
            slope.scatter_add_(1, own, -torch.ones_like(logs[:, :1]))
            slope /= len(labels)
            weights.grad.addmm_(rows.T, slope)
            bias.grad.add_(slope.sum(0))
        return loss

    solver = torch.optim.LBFGS(
        [weights, bias],
        max_iter=max_iter,
        tolerance_grad=1e-7,
        tolerance_change=1e-10,
        line_search_fn='strong_wolfe',
    )
    with torch.no_grad():
        solver.step(closure)
    return LinearClassifier(weights, bias, mean, scale)


def choose_classifier(
    features: Tensor,
    labels: Tensor,
    classes: int,
    held_out: Tensor,
    penalties: Sequence[float] = PENALTIES,
    device: str = 'cpu',
    progress: Progress | None = None,
    what: str = 'penalties',
) -> tuple[LinearClassifier, dict[str, float]]:
    """Fits with the penalty that does best on a held-out part.

    Args:
        features: (N, D) float32.
        labels: (N,) integers below `classes`.
        classes: How many there are.
        held_out: (N,) bool, what the penalty is chosen on; with the one that
            is chosen, all rows are fitted.
        penalties: Tried from the largest to the smallest. The best is the
            one of the highest accuracy; of several, of the lowest loss.
        device: Where it is computed.
        progress: Told after each fit.
        what: What the progress bar calls this.

    Returns:
        The classifier; and the `penalty`, the 'held_out_top1' it had, and
        'tried_from' and 'tried_to', so that one at the end of the range is
        seen.
    """
    fitted, kept = features[~held_out], labels[~held_out]
    tried, best = None, None
    order = sorted(penalties, reverse=True)
    for number, penalty in enumerate(order, 1):
        tried = fit_classifier(fitted, kept, classes, penalty, tried, device)
        accuracy, loss = tried.measure(features[held_out], labels[held_out])
        if best is None or (accuracy, -loss) > best[:2]:
            best = accuracy, -loss, penalty, tried
        if progress is not None:
            progress(what, number, len(order) + 1)
    accuracy, _, penalty, tried = best
    final = fit_classifier(features, labels, classes, penalty, tried, device)
    if progress is not None:
        progress(what, len(order) + 1, len(order) + 1)
    return final, {
        'penalty': penalty,
        'held_out_top1': 100 * accuracy,
        'tried_from': order[-1],
        'tried_to': order[0],
    }


def hold_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """(N,) bool: that share of each class's rows, drawn at random.

    At least one of a class that has two or more; none of one that has one.

    Raises:
        ValueError: No class has two rows.
    """
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        own = (labels == label).nonzero().squeeze(1)
        order = own[torch.randperm(len(own), generator=generator)]
        count = min(max(round(share * len(own)), 1), len(own) - 1)
        held[order[:count]] = True
    if not held.any():
        raise UsageError(
            'no class has two training pictures, one of which could be held '
            'out to choose the penalty on; take more'
        )
    return held


def check_sweep(
    penalties: Sequence[float], held_out: float, task: str
) -> None:
    """Raises a ValueError where a penalty cannot be chosen so."""
    if not penalties or min(penalties) < 0 or not 0 < held_out < 1:
        raise UsageError(
            f'{task}: penalties must be numbers from 0 (got {penalties}) and '
            f'held_out a share between 0 and 1 (got {held_out})'
        )


def _moments(features: Tensor, device: str) -> tuple[Tensor, Tensor]:
    """(D,) mean and standard deviation; 1 for what does not vary."""
    total = torch.zeros(features.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for start in range(0, len(features), ROWS):
        total += features[start : start + ROWS].double().sum(0)
    mean = total / len(features)
    for start in range(0, len(features), ROWS):
        rows = features[start : start + ROWS].double() - mean
        squares += rows.square().sum(0)
    deviation = (squares / len(features)).sqrt()
    constant = deviation <= 1e-6 * mean.abs().clamp(min=1e-6)
    deviation[constant] = 1.0
    return mean.to(device), deviation.to(device)
