"""What probes of pooled features share: training pictures, test pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import image_chunks
from sparc_vlm.evaluation.features import (
    Features,
    encode_features,
    match_classes,
    pooled,
)
from sparc_vlm.evaluation.labelled import (
    ClassResult,
    class_metrics,
    class_samples,
    distinct,
    guessing,
    need_classes,
    per_class,
    rank_labels,
)
from sparc_vlm.evaluation.options import check_counts, positive_ks
from sparc_vlm.evaluation.task import Progress, Task, spread_evenly
from sparc_vlm.registry import DATASETS

Scorer = Callable[[Tensor], Tensor]
"""From (B, D) features to (B, C) scores of the classes."""


class FeatureProbe(Task):
    """Base of the probes that classify pictures by frozen features.

    They choose among the classes of the training pictures. Metrics and
    samples are those of `Classification`.

    Args:
        dataset: The test pictures: a labelled source, or the config of one.
        train: The training pictures, likewise.
        name: The first part of the task's keys in a log.
        batch_size: Pictures encoded at a time.
        max_images: Measures on at most so many test pictures.
        max_train_images: Trains on at most so many, spread evenly.
        features: 'image', the global image embedding; or 'patches', the mean
            of the patches of the local loss, which has not gone through the
            layer h_v of the global path.
        ks: The k of top-k.

    Raises:
        ValueError: A source has no labels, or test pictures have classes
            that training pictures do not.
    """

    def __init__(
        self,
        dataset: Any,
        train: Any,
        name: str,
        batch_size: int = 64,
        max_images: int | None = None,
        max_train_images: int | None = None,
        features: Features = 'image',
        ks: Sequence[int] = (1, 5),
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        is_config = isinstance(train, dict)
        self.train = DATASETS.build(train) if is_config else train
        if features not in ('image', 'patches'):
            raise UsageError(
                f"{name}: features is 'image' or 'patches', not {features!r}"
            )
        check_counts(name, max_train_images=max_train_images)
        self.classes = need_classes(self.train, name)
        own = need_classes(self.source, name)
        parts = self.train, self.source
        ids = [getattr(part, 'wnids', None) for part in parts]
        # A name may be that of several classes, as 'crane' in ImageNet.
        both = ids if all(ids) else (self.classes, own)
        self.places = match_classes(*both, name)
        self.max_train_images = max_train_images
        self.features = features
        self.ks = positive_ks(ks, name)

    @abstractmethod
    def fit(
        self, features: Tensor, labels: Tensor, progress: Progress | None
    ) -> tuple[Scorer, dict[str, float]]:
        """Learns from the training pictures.

        Args:
            features: (N, D).
            labels: (N,) places among `classes`.
            progress: Told how far it has come.

        Returns:
            What scores the classes, and the settings that were chosen.
        """

    def run(self, model: Any, progress: Progress | None = None) -> ClassResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture of a source can be read or has one label,
                or the model gives values that are not finite.
        """
        broken_train: dict[int, str] = {}
        broken: dict[int, str] = {}
        spread = spread_evenly(len(self.train), self.max_train_images)
        learned = self._labelled(self.train, spread)
        tested = self._labelled(self.source, self.indices)
        kept, rows = encode_features(
            model,
            self.train,
            learned,
            self.batch_size,
            self.features,
            broken_train,
            progress,
            f'{self.name}: training pictures',
        )
        labels = torch.tensor([self.train.label(index) for index in kept])
        score, settings = self.fit(rows, labels, progress)
        names, samples = distinct(self.classes), []
        for indices, pictures in image_chunks(
            self.source,
            tested,
            self.batch_size,
            broken,
            progress,
            self.name,
        ):
            embeddings = model.encode_image(pictures)
            scores = score(pooled(embeddings, self.features, self.name))
            own = [self.source.label(index) for index in indices]
            places = self.places[own]
            ranks = rank_labels(scores, places)
            samples += class_samples(
                self.source, indices, places, ranks, names, self.ks
            )
        metrics = class_metrics(samples, self.ks)
        without = len(spread) - len(learned) + len(self.indices) - len(tested)
        skipped = {
            'broken pictures': len(broken),
            'broken training pictures': len(broken_train),
            'pictures without one label': without,
        }
        return ClassResult(
            self.name,
            metrics,
            samples,
            guessing(metrics, len(names)),
            self.report_skipped(skipped, {**broken, **broken_train}),
            per_class(samples, f'top{self.ks[0]}'),
            settings,
        )

    def _labelled(self, source: Any, indices: Sequence[int]) -> list[int]:
        """Those that have one label."""
        found = [index for index in indices if source.label(index) >= 0]
        if not found:
            raise UsageError(f'{self.name}: no picture has one label')
        return found
