"""What frozen features are worth: a linear classifier, nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.feature_probe import FeatureProbe, Scorer
from sparc_vlm.evaluation.logistic import (
    PENALTIES,
    check_sweep,
    choose_classifier,
    hold_out,
)
from sparc_vlm.evaluation.neighbours import nearest, vote
from sparc_vlm.evaluation.ranking import unit_rows
from sparc_vlm.evaluation.task import Progress
from sparc_vlm.registry import TASKS


@TASKS.register_module()
class LinearProbe(FeatureProbe):
    """Accuracy of a logistic regression on frozen features, in percent.

    Its penalty is chosen on a held-out part of the training pictures, never
    on those that it is measured on; then it is fitted to all of them. What
    was chosen stands in the `settings` of the result.

    Args:
        dataset: The test pictures: a labelled source, or the config of one.
        train: The training pictures, likewise.
        name: The first part of the task's keys in a log.
        penalties: Tried ones, see `fit_classifier`.
        held_out: Share of each class's training pictures that the penalty is
            chosen on.
        seed: Of the choice of these.
        device: Where it is fitted.
        **options: As `FeatureProbe`.

    Raises:
        ValueError: As `FeatureProbe`; no penalty, or a negative one; a share
            that is not between 0 and 1.
    """

    def __init__(
        self,
        dataset: Any,
        train: Any,
        name: str = 'linear_probe',
        penalties: Sequence[float] = PENALTIES,
        held_out: float = 0.2,
        seed: int = 0,
        device: str = 'cpu',
        **options: Any,
    ) -> None:
        super().__init__(dataset, train, name, **options)
        check_sweep(penalties, held_out, name)
        self.penalties = tuple(penalties)
        self.held_out = held_out
        self.seed = seed
        self.device = device

    def fit(
        self, features: Tensor, labels: Tensor, progress: Progress | None
    ) -> tuple[Scorer, dict[str, float]]:
        """Fits the regression; see `FeatureProbe.fit`."""
        classifier, settings = choose_classifier(
            features,
            labels,
            len(self.classes),
            hold_out(labels, self.held_out, self.seed),
            self.penalties,
            self.device,
            progress,
            f'{self.name}: penalties',
        )
        return classifier.scores, settings


@TASKS.register_module()
class KnnProbe(FeatureProbe):
    """Accuracy of the votes of the nearest training pictures, in percent.

    The k with the highest cosine vote for their class, each with the weight
    exp(cosine / temperature). Nothing is learned or chosen.

    Args:
        dataset: The test pictures: a labelled source, or the config of one.
        train: The training pictures, likewise.
        name: The first part of the task's keys in a log.
        k: How many vote; all, where there are fewer.
        temperature: The lower, the more the nearest count.
        **options: As `FeatureProbe`.

    Raises:
        ValueError: As `FeatureProbe`; `k` below 1, or no positive
            temperature.
    """

    def __init__(
        self,
        dataset: Any,
        train: Any,
        name: str = 'knn_probe',
        k: int = 20,
        temperature: float = 0.07,
        **options: Any,
    ) -> None:
        super().__init__(dataset, train, name, **options)
        if k < 1 or temperature <= 0:
            raise UsageError(
                f'{name}: k ({k}) must be at least 1, and temperature '
                f'({temperature}) more than 0'
            )
        self.k = k
        self.temperature = temperature

    def fit(
        self, features: Tensor, labels: Tensor, progress: Progress | None
    ) -> tuple[Scorer, dict[str, float]]:
        """Keeps the features; see `FeatureProbe.fit`."""
        bank = unit_rows(features)
        count = min(self.k, len(bank))

        def score(queries: Tensor) -> Tensor:
            cosine, rows = nearest(queries, bank, count)
            return vote(
                cosine, labels[rows], len(self.classes), self.temperature
            )

        return score, {'k': count, 'temperature': self.temperature}
