"""What frozen patches are worth: a linear classifier for each patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import own_patches, patch_chunks
from sparc_vlm.evaluation.labelled import ClassResult
from sparc_vlm.evaluation.logistic import (
    PENALTIES,
    LinearClassifier,
    check_sweep,
    choose_classifier,
    hold_out,
)
from sparc_vlm.evaluation.overlap import Overlap
from sparc_vlm.evaluation.patch_labels import enlarge
from sparc_vlm.evaluation.patch_truth import BACKGROUND, Truths, majority
from sparc_vlm.evaluation.task import Progress, Task, spread_evenly
from sparc_vlm.registry import DATASETS, TASKS

Patches = Literal['patches', 'dense']


class _Tally:
    """Adds up pictures, as they were labelled and as guessing labels them.

    Args:
        names: All classes, the background among them.
        commonest: Place of the class that guessing takes.
    """

    def __init__(self, names: list[str], commonest: int) -> None:
        self.names = names
        self.commonest = commonest
        self.found = Overlap(count_background=False)
        self.guessed = Overlap(count_background=False)
        self.right = self.guessed_right = self.patches = 0

    def add(self, predicted: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        """Adds a picture and returns its own numbers.

        Args:
            predicted: (rows, columns) place of each patch's class.
            truth: (H, W) places of classes, negative where void.
        """
        own = majority(truth, predicted.shape)
        known = int((own >= 0).sum())
        right = int((predicted.reshape(-1) == own).sum())
        self.patches += known
        self.right += right
        self.guessed_right += int((own == self.commonest).sum())
        said = enlarge(predicted, truth.shape)
        ious = self.found.add(said, truth, self.names)
        guess = np.full_like(truth, self.commonest)
        self.guessed.add(guess, truth, self.names)
        return {
            'miou_image': 100 * self.found.picture_means[-1],
            'patch_top1': 100 * right / max(known, 1),
            'patches': known,
            'classes': {n: {'miou': 100 * iou} for n, iou in ious.items()},
        }

    def ious(self, overlap: Overlap) -> dict[str, float]:
        """IoU of each class that a picture shows, between 0 and 1."""
        return {
            name: overlap.intersections[name] / overlap.unions[name]
            for name in overlap.shown
        }

    def means(self, overlap: Overlap, right: int) -> dict[str, float]:
        """The metrics of either, in percent."""
        ious = self.ious(overlap)
        front = [iou for name, iou in ious.items() if name != BACKGROUND]
        return {
            'miou': overlap.class_mean,
            'miou_fg': 100 * float(np.mean(front)) if front else 0.0,
            'miou_image': overlap.picture_mean,
            'patch_top1': 100 * right / max(self.patches, 1),
        }


@TASKS.register_module()
class PatchProbe(Task):
    """Segmentation by a logistic regression on frozen patches, in percent.

    It is trained on single patches, whose class is that of most of their
    pixels, background being one; the penalty is chosen on held-out training
    pictures. Measured on pixels, each of which takes its patch's class:

    * 'miou' is the mean IoU over the classes that test pictures show, pixels
      added up over all pictures; 'miou_fg' leaves the background's out of
      the mean.
    * 'miou_image' is the mean over pictures of the mean over their classes.
    * 'patch_top1' is the share of test patches that get their own class.

    Chance takes the commonest class of the training patches everywhere. A
    sample is a picture: its `key`, 'miou_image', and `classes`, the IoU of
    each class that it shows.

    Args:
        dataset: The test pictures: a source with segments, or the config of
            one.
        train: The training pictures, likewise.
        name: The first part of the task's keys in a log.
        batch_size: Pictures encoded at a time.
        max_images: Measures on at most so many test pictures.
        max_train_images: Trains on at most so many, spread evenly.
        features: 'patches', those of the local loss, or 'dense', those in
            the space of the global text.
        patches_per_image: Drawn from each training picture; bounds what is
            kept in memory.
        penalties: Tried ones, see `fit_classifier`.
        held_out: Share of the training pictures that the penalty is chosen
            on.
        seed: Of the draws.
        device: Where it is fitted.

    Raises:
        ValueError: A source has no segments, or an option is out of range.
    """

    def __init__(
        self,
        dataset: Any,
        train: Any,
        name: str = 'patch_probe',
        batch_size: int = 64,
        max_images: int | None = None,
        max_train_images: int | None = None,
        features: Patches = 'patches',
        patches_per_image: int = 16,
        penalties: Sequence[float] = PENALTIES,
        held_out: float = 0.2,
        seed: int = 0,
        device: str = 'cpu',
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        self.need_segments()
        self.train = (
            DATASETS.build(train) if isinstance(train, dict) else train
        )
        if not hasattr(self.train, 'segments'):
            raise UsageError(f'{name}: the training pictures have no segments')
        if features not in ('patches', 'dense'):
            raise UsageError(
                f"{name}: features is 'patches' or 'dense', not {features!r}"
            )
        if patches_per_image < 1 or (max_train_images or 1) < 1:
            raise UsageError(
                f'{name}: patches_per_image ({patches_per_image}) and '
                f'max_train_images ({max_train_images}) must be at least 1'
            )
        check_sweep(penalties, held_out, name)
        self.max_train_images = max_train_images
        self.features = features
        self.patches_per_image = patches_per_image
        self.penalties = tuple(penalties)
        self.held_out = held_out
        self.seed = seed
        self.device = device

    def run(self, model: Any, progress: Progress | None = None) -> ClassResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture or none's segments can be read, there is
                one class only, or the model gives values that are not
                finite.
        """
        truths = Truths()
        broken: dict[int, str] = {}
        broken_train: dict[int, str] = {}
        classifier, settings, commonest = self._fit(
            model, truths, broken_train, progress
        )
        tally = _Tally(list(truths.classes), commonest)
        samples = []
        for indices, kinds, grid in own_patches(self, model, broken, progress):
            for index, rows in zip(indices, self._own(kinds), strict=True):
                truth = truths.read(self.source, index, grow=False)
                if truth is None or not (truth >= 0).any():
                    continue
                predicted = classifier.scores(rows).argmax(1).numpy()
                sample = tally.add(predicted.reshape(grid), truth)
                samples.append({'key': self.source.key(index), **sample})
        if not samples:
            why = ', '.join(truths.unreadable[-1:]) or 'all is void'
            raise UsageError(f'{self.name}: no test picture to score: {why}')
        skipped = {
            'broken pictures': len(broken),
            'broken training pictures': len(broken_train),
            'pictures with broken segments': len(truths.unreadable),
            'classes that no training picture shows': len(truths.unknown),
        }
        reasons = [*broken.values(), *broken_train.values()]
        reasons += truths.unreadable
        ious = tally.ious(tally.found)
        return ClassResult(
            self.name,
            tally.means(tally.found, tally.right),
            samples,
            tally.means(tally.guessed, tally.guessed_right),
            self.report_skipped(skipped, dict(enumerate(reasons))),
            {name: 100 * iou for name, iou in sorted(ious.items())},
            settings,
        )

    def _fit(
        self,
        model: Any,
        truths: Truths,
        broken: dict[int, str],
        progress: Progress | None,
    ) -> tuple[LinearClassifier, dict[str, float], int]:
        """Learns from the training patches.

        Returns:
            The classifier, what was chosen, and the commonest class.
        """
        rows, labels, owners = self._patches(model, truths, broken, progress)
        if len(labels.unique()) < 2:
            raise UsageError(
                f'{self.name}: the training patches show '
                f'{len(labels.unique())} classes, and there is nothing to '
                'learn'
            )
        pictures = torch.zeros(int(owners.max()) + 1, dtype=torch.long)
        held_out = hold_out(pictures, self.held_out, self.seed)[owners]
        classifier, settings = choose_classifier(
            rows,
            labels,
            len(truths.classes),
            held_out,
            self.penalties,
            self.device,
            progress,
            f'{self.name}: penalties',
        )
        return classifier, settings, int(labels.bincount().argmax())

    def _patches(
        self,
        model: Any,
        truths: Truths,
        broken: dict[int, str],
        progress: Progress | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Some patches of each training picture.

        Returns:
            (N, D) features, (N,) places of their classes, and (N,) numbers
            of the pictures that they are from.
        """
        spread = spread_evenly(len(self.train), self.max_train_images)
        rows, labels, owners = torch.empty(0), [], []
        pictures = 0
        for indices, kinds, grid in patch_chunks(
            model,
            self.train,
            spread,
            self.batch_size,
            broken,
            progress,
            f'{self.name}: training pictures',
        ):
            own = self._own(kinds)
            if not len(rows):
                # Joining a list at the end would need room for all twice.
                most = len(spread) * self.patches_per_image
                rows = torch.empty(most, own.shape[2])
            for index, patches in zip(indices, own, strict=True):
                truth = truths.read(self.train, index, grow=True)
                if truth is None:
                    continue
                kinds_there = majority(truth, grid)
                known = (kinds_there >= 0).nonzero()[0]
                random = np.random.default_rng((self.seed, index))
                drawn = random.permutation(known)[: self.patches_per_image]
                at = len(labels)
                rows[at : at + len(drawn)] = patches[drawn]
                labels += kinds_there[drawn].tolist()
                owners += [pictures] * len(drawn)
                pictures += bool(len(drawn))
        return (
            rows[: len(labels)],
            torch.tensor(labels, dtype=torch.long),
            torch.tensor(owners, dtype=torch.long),
        )

    def _own(self, kinds: tuple[Tensor, Tensor]) -> Tensor:
        """(B, P, D) patches of the kind that is probed."""
        patches, dense = kinds
        return patches if self.features == 'patches' else dense
