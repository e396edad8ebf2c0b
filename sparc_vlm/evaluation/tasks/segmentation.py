"""Zero-shot segmentation: each patch takes the nearest class by cosine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import (
    check_finite,
    encode_texts,
    own_patches,
)
from sparc_vlm.evaluation.options import check_counts
from sparc_vlm.evaluation.overlap import Overlap, among_all, given_classes
from sparc_vlm.evaluation.patch_labels import Upsample, enlarge, label_patches
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.registry import TASKS

Candidates = Literal['image', 'all', 'both']
# The endings of the keys of what is measured.
PROTOCOLS = {'image': ('',), 'all': ('_all',), 'both': ('', '_all')}
KINDS = ('', '_patches')

Truth = tuple[list[str], np.ndarray]
"""The classes to choose from, and (H, W) the place of each pixel's own."""


@TASKS.register_module()
class Segmentation(Task):
    """Mean IoU of zero-shot segmentation.

    Each patch takes the class whose text is nearest by cosine: of the
    foreground classes that the picture's ground truth shows (the paper's
    protocol), or of all classes of the dataset. Eight numbers for each of
    the two, made of 'miou' and four endings:

    * 'miou' takes `dense`, the patches in the space of the global text
      (appendix D.7); '_patches' takes the patches of the local loss.
    * 'miou' counts a class given to background pixels as wrong, though no
      patch can choose background; '_fg' scores foreground pixels alone.
    * 'miou' adds pixels up per class over all pictures and takes the mean
      over the classes that some picture shows, as on Pascal VOC; '_image' is
      the mean over pictures of the mean over the classes that each shows.
    * 'miou' gives the picture's own classes; '_all' all of the dataset.

    Pixels without a known class (negative labels) are not scored. Chance
    gives each patch one of the classes at random. A sample is a picture: its
    `key`, the '_image' numbers, and `classes`, the IoU of each class that it
    shows by 'miou' and by 'miou_patches', all in percent; and `pixels`, for
    each of the other numbers the intersection and union of each class, so
    that it can be taken apart.

    Args:
        dataset: A source of pictures with segments, or the config of one;
            with `classes`, the names of all, where all are candidates.
        name: The first part of the task's keys in a log.
        batch_size: Pictures encoded at a time.
        max_images: Measures on at most so many pictures.
        prompt: How a class name is put to the text encoder; '{}' is the
            name.
        upsample: How patches become pixels, see `label_patches`.
        candidates: The classes to choose from: 'image' for the picture's
            own, 'all' for those of the dataset, 'both' for either in turn.
        chance_draws: Random labellings of each picture, for chance.
        seed: Of these.

    Raises:
        ValueError: The source has no segments, or no classes where all are
            candidates; or the prompt has no '{}'.
    """

    def __init__(
        self,
        dataset: Any,
        name: str = 'segmentation',
        batch_size: int = 64,
        max_images: int | None = None,
        prompt: str = 'a {}',
        upsample: Upsample = 'nearest',
        candidates: Candidates = 'image',
        chance_draws: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        self.need_segments()
        if '{}' not in prompt:
            raise UsageError(
                f"{name}: the prompt {prompt!r} needs a '{{}}' for the name"
            )
        if upsample not in ('nearest', 'bilinear'):
            raise UsageError(
                f"{name}: upsample is 'nearest' or 'bilinear', not "
                f'{upsample!r}'
            )
        if candidates not in PROTOCOLS:
            raise UsageError(
                f"{name}: candidates is 'image', 'all' or 'both', not "
                f'{candidates!r}'
            )
        self.protocols = PROTOCOLS[candidates]
        self.classes: list[str] = []
        if candidates != 'image':
            named = getattr(self.source, 'classes', [])
            self.classes = list(dict.fromkeys(named))
            if not self.classes:
                raise UsageError(
                    f'{name}: {type(self.source).__name__} does not say '
                    "which classes there are: set candidates='image'"
                )
        self.prompt = prompt
        self.upsample = upsample
        check_counts(name, chance_draws=chance_draws)
        self.chance_draws = chance_draws
        self.seed = seed

    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture, or none's segments, can be read, or none
                has a foreground.
        """
        overlaps = {
            kind + protocol: _both()
            for kind in (*KINDS, 'chance')
            for protocol in self.protocols
        }
        texts: dict[str, Tensor] = {}
        self._encode_names(model, self.classes, texts)
        samples = []
        broken: dict[int, str] = {}
        unknown: dict[int, str] = {}
        empty = 0
        for indices, (patches, dense), grid in own_patches(
            self, model, broken, progress
        ):
            truths = [self._truths(index, unknown) for index in indices]
            met = (t[''][0] for t in truths if t is not None and '' in t)
            names = [name for classes in met for name in classes]
            self._encode_names(model, names, texts)
            for place, (index, truth) in enumerate(
                zip(indices, truths, strict=True)
            ):
                if truth is None:
                    continue
                if not truth:
                    empty += 1
                    continue
                own = {'': dense[place], '_patches': patches[place]}
                sample = self._score(own, grid, truth, texts, overlaps)
                samples.append({'key': self.source.key(index), **sample})
                self._guess(index, grid, truth, overlaps)
        if not samples:
            why = next(iter(unknown.values()), 'no picture has a foreground')
            raise UsageError(f'{self.name}: {why}')
        skipped = {
            'broken pictures': len(broken),
            'pictures with broken segments': len(unknown),
            'pictures without a foreground': empty,
        }
        metrics: dict[str, float] = {}
        chance: dict[str, float] = {}
        for protocol in self.protocols:
            guessed = overlaps[f'chance{protocol}']
            for kind in KINDS:
                ending = kind + protocol
                metrics.update(_means(ending, overlaps[ending]))
                chance.update(_means(ending, guessed))
        return TaskResult(
            self.name,
            metrics,
            samples,
            chance,
            self.report_skipped(skipped, {**broken, **unknown}),
        )

    def _truths(
        self, index: int, unknown: dict[int, str]
    ) -> dict[str, Truth] | None:
        """What is true of a picture, for each protocol.

        Returns:
            Nothing in it where there is no foreground; None, and the reason
            in `unknown`, where the segments cannot be read.
        """
        # Whatever a damaged annotation makes its reader raise.
        try:
            labels, names = self.source.segments(index)
            shown, labels = given_classes(np.asarray(labels), list(names))
            truths = {'': (shown, labels)}
            if self.classes:
                everywhere = among_all(shown, labels, self.classes)
                truths['_all'] = (self.classes, everywhere)
        except Exception as error:
            unknown[index] = f'{self.source.key(index)}: {error}'
            return None
        return {p: truths[p] for p in self.protocols} if shown else {}

    def _encode_names(
        self, model: Any, names: Iterable[str], texts: dict[str, Tensor]
    ) -> None:
        """Adds the embeddings of class names not met before."""
        new = [name for name in dict.fromkeys(names) if name not in texts]
        if new:
            # Not str.format: a prompt may have other braces.
            prompts = [self.prompt.replace('{}', name) for name in new]
            rows = encode_texts(model, prompts, self.batch_size)
            check_finite(rows, 'class names', self.name)
            texts.update(zip(new, rows, strict=True))

    def _score(
        self,
        kinds: dict[str, Tensor],
        grid: tuple[int, int],
        truths: dict[str, Truth],
        texts: dict[str, Tensor],
        overlaps: dict[str, list[Overlap]],
    ) -> dict[str, Any]:
        """Adds a picture to the overlaps and returns its own numbers."""
        sample: dict[str, Any] = {'classes': {}, 'pixels': {}}
        for protocol, (classes, labels) in truths.items():
            names = torch.stack([texts[name] for name in classes])
            for kind, patches in kinds.items():
                ending = kind + protocol
                predicted = label_patches(
                    patches, names, grid, labels.shape, self.upsample
                )
                full, foreground = overlaps[ending]
                ious = full.add(predicted, labels, classes)
                foreground.add(predicted, labels, classes)
                sample['pixels'][f'miou{ending}'] = full.last
                sample['pixels'][f'miou_fg{ending}'] = foreground.last
                sample[f'miou_image{ending}'] = 100 * full.picture_means[-1]
                sample[f'miou_fg_image{ending}'] = (
                    100 * foreground.picture_means[-1]
                )
                for name, iou in ious.items():
                    scores = sample['classes'].setdefault(name, {})
                    scores[f'miou{ending}'] = 100 * iou
        return sample

    def _guess(
        self,
        index: int,
        grid: tuple[int, int],
        truths: dict[str, Truth],
        overlaps: dict[str, list[Overlap]],
    ) -> None:
        """Adds random labellings of a picture to chance."""
        for protocol, (classes, labels) in truths.items():
            random = np.random.default_rng((self.seed, index))
            for _ in range(self.chance_draws):
                guessed = enlarge(
                    random.integers(len(classes), size=grid), labels.shape
                )
                for overlap in overlaps[f'chance{protocol}']:
                    overlap.add(guessed, labels, classes)


def _both() -> list[Overlap]:
    """Overlap with the background counted, and of the foreground alone."""
    return [Overlap(count_background=True), Overlap(count_background=False)]


def _means(ending: str, overlaps: list[Overlap]) -> dict[str, float]:
    """The four numbers of one kind and protocol, under their keys."""
    full, foreground = overlaps
    return {
        f'miou{ending}': full.class_mean,
        f'miou_image{ending}': full.picture_mean,
        f'miou_fg{ending}': foreground.class_mean,
        f'miou_fg_image{ending}': foreground.picture_mean,
    }
