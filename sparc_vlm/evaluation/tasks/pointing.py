"""The pointing game: is a word's strongest patch on the thing it names?"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import has_words, own_patches
from sparc_vlm.evaluation.options import check_counts
from sparc_vlm.evaluation.overlap import given_classes
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.evaluation.words import (
    Alignment,
    CaptionWords,
    encode_words,
    own_alignment,
)
from sparc_vlm.naming import named_objects
from sparc_vlm.registry import TASKS


def hit(weights: Tensor, on_object: np.ndarray) -> float:
    """Share of the strongest patches, several where they tie, on an object.

    Args:
        weights: (P,) weights of the patches.
        on_object: (P,) bool, whether each patch's centre lies on it.
    """
    return float(on_object[(weights == weights.max()).numpy()].mean())


def at_centres(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(rows * columns,) values of an (H, W) map at the patches' centres."""
    at = [
        ((np.arange(patches) + 0.5) * pixels / patches).astype(int)
        for patches, pixels in zip(grid, mask.shape, strict=True)
    ]
    return mask[np.ix_(*at)].reshape(-1)


@TASKS.register_module()
class Pointing(Task):
    """Pointing accuracy of the words that name objects, in percent.

    For each such word of each caption (see `named_objects`), a hit is when
    the centre of its strongest patch lies on the mask of the object.
    'pointing' takes the patches of the local loss, 'pointing_dense' those in
    the space of the global text embedding, which is where a model trained on
    the global loss alone has learned anything; the means are over words.

    Objects that cover no patch's centre are not asked for.

    A sample is a picture: its `key`, `words` (how many were asked),
    'pointing', 'pointing_dense' and their `chance`, in percent.

    Args:
        dataset: A source of pictures with segments, or the config of one.
        alignment: Weights of the patches for each token; None takes the
            model's own `align`.
        name: The first part of the task's keys in a log.
        batch_size: Pictures, or captions, encoded at a time.
        max_images: Measures on at most so many pictures.
        captions_per_image: Takes the first so many captions of a picture.

    Raises:
        ValueError: The source has no segments.
    """

    def __init__(
        self,
        dataset: Any,
        alignment: Alignment | None = None,
        name: str = 'pointing',
        batch_size: int = 64,
        max_images: int | None = None,
        captions_per_image: int | None = 5,
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        self.need_segments()
        self.alignment = alignment
        check_counts(name, captions_per_image=captions_per_image)
        self.captions_per_image = captions_per_image

    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture can be read, no caption names an object,
                or neither the task nor the model has an alignment.
        """
        alignment = own_alignment(self.alignment, model)
        samples = []
        broken: dict[int, str] = {}
        unknown: dict[int, str] = {}
        silent = 0
        for indices, (patches, dense), grid in own_patches(
            self, model, broken, progress
        ):
            kinds = {'pointing': patches, 'pointing_dense': dense}
            captions = self._captions(model, indices)
            for place, index in enumerate(indices):
                truth = self._truth(index, unknown)
                if truth is None:
                    continue
                own = {kind: rows[place] for kind, rows in kinds.items()}
                found = self._score(
                    truth, own, grid, captions[place], alignment
                )
                sample = {'key': self.source.key(index), **found}
                if sample['words']:
                    samples.append(sample)
                else:
                    silent += 1
        if not samples:
            why = next(iter(unknown.values()), 'no caption names an object')
            raise UsageError(f'{self.name}: {why}')
        skipped = {
            'broken pictures': len(broken),
            'pictures with broken segments': len(unknown),
            'pictures whose captions name no object': silent,
        }
        total = sum(sample['words'] for sample in samples)
        means = {
            key: sum(s[key] * s['words'] for s in samples) / total
            for key in ('pointing', 'pointing_dense', 'chance')
        }
        chance = means.pop('chance')
        return TaskResult(
            self.name,
            means,
            samples,
            dict.fromkeys(means, chance),
            self.report_skipped(skipped, {**broken, **unknown}),
        )

    def _truth(
        self, index: int, unknown: dict[int, str]
    ) -> tuple[list[str], np.ndarray] | None:
        """Classes of a picture and their pixels.

        Args:
            index: Which picture.
            unknown: Why segments could not be read is added here.

        Returns:
            None where they cannot be read.
        """
        # Whatever a damaged annotation makes its reader raise.
        try:
            labels, names = self.source.segments(index)
            return given_classes(np.asarray(labels), list(names))
        except Exception as error:
            unknown[index] = f'{self.source.key(index)}: {error}'
            return None

    def _captions(
        self, model: Any, indices: list[int]
    ) -> list[list[CaptionWords]]:
        """The encoded captions of each picture."""
        own = [
            [
                caption
                for caption in self.source.captions(index)
                if has_words(model, caption)
            ][: self.captions_per_image]
            for index in indices
        ]
        texts = [caption for captions in own for caption in captions]
        encoded = iter(encode_words(model, texts, self.batch_size))
        return [list(islice(encoded, len(captions))) for captions in own]

    def _score(
        self,
        truth: tuple[list[str], np.ndarray],
        kinds: dict[str, Tensor],
        grid: tuple[int, int],
        captions: list[CaptionWords],
        alignment: Alignment,
    ) -> dict[str, Any]:
        """One picture's sample, without its key."""
        classes, labels = truth
        centres = at_centres(labels, grid)
        scores: dict[str, list[float]] = {'chance': []}
        for caption in captions:
            meant = named_objects(caption.words, classes)
            targets = {
                word: np.isin(centres, [classes.index(n) for n in objects])
                for word, objects in meant.items()
            }
            # The rest is smaller than a patch: no patch could hit it.
            targets = {word: t for word, t in targets.items() if t.any()}
            scores['chance'] += [float(t.mean()) for t in targets.values()]
            for kind, patches in kinds.items():
                weights = caption.align(patches, alignment)
                hits = scores.setdefault(kind, [])
                hits += [hit(weights[w], t) for w, t in targets.items()]
        count = len(scores['chance'])
        means = {
            kind: 100 * float(np.mean(values))
            for kind, values in scores.items()
            if count
        }
        return {'words': count, **means}
