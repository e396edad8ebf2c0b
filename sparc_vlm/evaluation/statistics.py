"""Intervals of a metric, and of the difference between two models.

A bootstrap of two levels: the seeds that a model was trained with are drawn
anew, and so are the samples, the same ones for both models, so that what
makes a sample easy or hard for everyone cancels out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sparc_vlm.errors import UsageError

DRAWS = 2000
CHUNK_BYTES = 2**26


@dataclass(frozen=True)
class Interval:
    """A number and where it may as well have been.

    Attributes:
        value: The number itself.
        low: Lower end of the interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether all of the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


class Resampled(Protocol):
    """What a model scored, so kept that samples can be drawn anew.

    Attributes:
        seeds: That the model was trained with.
        samples: That it was measured on.
        draws: How many are worth their time.
    """

    seeds: int
    samples: int
    draws: int

    @property
    def is_mean(self) -> bool:
        """Whether the mean over draws is the metric itself."""

    def metrics(self, counts: np.ndarray) -> np.ndarray:
        """(B, S) metric of each seed, of samples taken (B, N) times."""


@dataclass(frozen=True)
class Scores:
    """What a model scored on each sample, at each seed, and what counts it.

    The metric of a seed is the mean of `values` weighted by `weights`; with
    K classes (a third axis) it is the mean over classes of such means, as
    mean IoU is, where values are IoUs, and weights unions of pixels. A class
    that no drawn sample shows is left out of that draw.

    Attributes:
        values: (S, N) or (S, N, K), seeds and samples; NaN where the weight
            is 0 is fine.
        weights: As `values`; None counts every sample once.
        draws: How many a bootstrap takes.
        shown: (N, K) bool, whether a sample shows a class; None takes that
            from the weights.
    """

    values: np.ndarray
    weights: np.ndarray | None = None
    draws: int = DRAWS
    shown: np.ndarray | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values, float)
        if values.ndim not in (2, 3) or not values.size:
            raise UsageError(
                'scores are (seeds, samples) or (seeds, samples, classes) '
                f'and not empty, got the shape {values.shape}'
            )
        weights = self.weights
        weights = np.ones_like(values) if weights is None else weights
        weights = np.asarray(weights, float)
        if weights.shape != values.shape:
            raise UsageError(
                f'values have the shape {values.shape}, their weights '
                f'{weights.shape}'
            )
        counted = weights > 0
        if not np.isfinite(values[counted]).all() or (weights < 0).any():
            raise UsageError(
                'scores must be finite where they count, and no weight '
                'negative'
            )
        object.__setattr__(self, 'values', np.where(counted, values, 0.0))
        object.__setattr__(self, 'weights', weights)

    @property
    def is_mean(self) -> bool:
        """Not over classes: a rare one is missing from many draws."""
        return self.values.ndim == 2

    @property
    def seeds(self) -> int:
        """Seeds that the model was trained with."""
        return self.values.shape[0]

    @property
    def samples(self) -> int:
        """Samples that it was measured on."""
        return self.values.shape[1]

    def metrics(self, counts: np.ndarray) -> np.ndarray:
        """The metric of each seed, for samples drawn so many times.

        Args:
            counts: (B, N), how often each sample is taken.

        Returns:
            (B, S); NaN where nothing that counts was drawn.
        """
        shape = (self.seeds, self.samples, -1)
        weights = self.weights.reshape(shape)
        sums = self.values.reshape(shape) * weights
        found = np.empty((len(counts), self.seeds))
        with np.errstate(invalid='ignore', divide='ignore'):
            for seed in range(self.seeds):
                means = (counts @ sums[seed]) / (counts @ weights[seed])
                there = np.isfinite(means)
                if self.shown is not None:
                    there &= counts @ self.shown > 0
                total = np.where(there, means, 0.0).sum(1)
                found[:, seed] = total / there.sum(1)
        return found

    def at(self, rows: Sequence[int]) -> Scores:
        """The same of some of the samples, in that order."""
        shown = None if self.shown is None else self.shown[rows]
        values, weights = self.values[:, rows], self.weights[:, rows]
        return Scores(values, weights, self.draws, shown)


def bootstrap(
    scores: Resampled,
    other: Resampled | None = None,
    draws: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a metric, or of how much higher it is.

    The value is the mean over seeds of the metric over all samples. For each
    draw, samples are taken with replacement, the same for both models, and
    so are the seeds of each model. The mean of S seeds drawn from S varies
    less than the mean of S trainings by (S - 1) / S, which is much for two
    or three: what the drawn seeds are away from the mean of all is made
    larger by sqrt(S / (S - 1)). Of one seed nothing can be said but for the
    samples. Where a metric is no mean over samples, so that draws lie higher
    or lower than it does on the whole, the interval is moved by as much.

    Args:
        scores: Of the model.
        other: Of the model to compare it with, on the same samples in the
            same order; None asks for the model's own metric.
        draws: How many; None takes as many as the scores' kind allows.
        level: Share of the draws that the interval holds.
        seed: Makes the draws the same each time.

    Raises:
        ValueError: Another number of samples, or no sample that counts.
    """
    if other is not None and other.samples != scores.samples:
        raise UsageError(
            f'models are compared sample by sample: {scores.samples} samples '
            f'of one, {other.samples} of the other'
        )
    draws = scores.draws if draws is None else draws
    if not 0 < level < 1 or draws < 1:
        raise UsageError(
            f'level lies between 0 and 1 and draws is at least 1, got {level} '
            f'and {draws}'
        )
    models = [scores] if other is None else [scores, other]
    once = np.ones((1, scores.samples))
    value = _signed([model.metrics(once).mean(1) for model in models])[0]
    if not np.isfinite(value):
        raise UsageError('no sample counts')
    random = np.random.default_rng(seed)
    drawn = []
    for counts in _sample_counts(scores.samples, draws, random):
        means = [
            _mean_of_seeds(model.metrics(counts), random) for model in models
        ]
        drawn.append(_signed(means))
    tail = (1 - level) / 2
    values = np.concatenate(drawn)
    if not scores.is_mean:
        values += value - np.nanmean(values)
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def _signed(means: list[np.ndarray]) -> np.ndarray:
    """The mean of one model, or the first less the second."""
    return means[0] if len(means) == 1 else means[0] - means[1]


def _mean_of_seeds(
    metrics: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """(B,) means of seeds drawn anew, from the (B, S) metrics of each."""
    mean = metrics.mean(1)
    draws, seeds = metrics.shape
    if seeds == 1:
        return mean
    chosen = random.integers(seeds, size=(draws, seeds))
    drawn = np.take_along_axis(metrics, chosen, 1).mean(1)
    return mean + np.sqrt(seeds / (seeds - 1)) * (drawn - mean)


def _sample_counts(
    samples: int, draws: int, random: np.random.Generator
) -> Iterator[np.ndarray]:
    """(b, N) counts of samples drawn with replacement, in chunks."""
    chunk = max(1, CHUNK_BYTES // (8 * samples))
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        taken = random.integers(samples, size=(rows, samples))
        taken += samples * np.arange(rows)[:, None]
        counts = np.bincount(taken.reshape(-1), minlength=rows * samples)
        yield counts.reshape(rows, samples).astype(float)
