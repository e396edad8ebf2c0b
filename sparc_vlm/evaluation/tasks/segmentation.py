"""Zero-shot segmentation: each patch takes the nearest class by cosine."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import encode_texts, patch_chunks
from sparc_vlm.evaluation.overlap import Overlap, given_classes
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.registry import TASKS

Upsample = Literal['nearest', 'bilinear']


@torch.autocast('cpu', enabled=False)
def label_patches(
    patches: Tensor,
    texts: Tensor,
    grid: tuple[int, int],
    size: tuple[int, int],
    upsample: Upsample = 'nearest',
) -> np.ndarray:
    """The class that each pixel gets.

    Args:
        patches: (P, D) patch embeddings.
        texts: (C, D) class embeddings.
        grid: Rows and columns of the patches.
        size: Height and width of the picture.
        upsample: 'nearest' labels the patches and enlarges the labels, as
            the paper words it; 'bilinear' enlarges the similarities and
            labels the pixels.

    Returns:
        (H, W) integers below C.
    """
    cosine = F.normalize(patches, dim=-1) @ F.normalize(texts, dim=-1).T
    maps = cosine.T.reshape(1, len(texts), *grid)
    if upsample == 'bilinear':
        maps = F.interpolate(maps, size, mode='bilinear', align_corners=False)
        return maps.argmax(1)[0].numpy()
    labels = maps.argmax(1, keepdim=True)
    return enlarge(labels[0, 0].numpy(), size)


def enlarge(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A (rows, columns) map at (height, width): the patch under each pixel."""
    at = [
        ((np.arange(pixels) + 0.5) * patches / pixels).astype(int)
        for patches, pixels in zip(labels.shape, size, strict=True)
    ]
    return labels[np.ix_(*at)]


@TASKS.register_module()
class Segmentation(Task):
    """Mean IoU of zero-shot segmentation, the picture's classes given.

    Each patch takes, of the foreground classes that the picture's ground
    truth shows, the one whose text is nearest by cosine. Eight numbers, made
    of 'miou' and three endings:

    * 'miou' takes `dense`, the patches in the space of the global text
      (appendix D.7); '_patches' takes the patches of the local loss.
    * 'miou' counts a class given to background pixels as wrong, though no
      patch can choose background; '_fg' scores foreground pixels alone.
    * 'miou' adds pixels up per class over all pictures and takes the mean
      over classes, as on Pascal VOC; '_image' is the mean over pictures of
      the mean over the classes of each.

    Chance gives each patch one of the picture's classes at random. A sample
    is a picture: `key`, the four '_image' numbers, and `classes`, the IoU of
    each class by 'miou' and by 'miou_patches', all in percent.

    Args:
        dataset: A source of pictures with segments, or the config of one.
        name: The first part of the task's keys in a log.
        batch_size: Pictures encoded at a time.
        max_images: Measures on at most so many pictures.
        prompt: How a class name is put to the text encoder; '{}' is the
            name.
        upsample: How patches become pixels, see `label_patches`.
        chance_draws: Random labellings of each picture, for chance.
        seed: Of these.

    Raises:
        ValueError: The source has no segments, or the prompt no '{}'.
    """

    def __init__(
        self,
        dataset: Any,
        name: str = 'segmentation',
        batch_size: int = 64,
        max_images: int | None = None,
        prompt: str = 'a {}',
        upsample: Upsample = 'nearest',
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
        self.prompt = prompt
        self.upsample = upsample
        self.chance_draws = chance_draws
        self.seed = seed

    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture can be read, or none has a foreground.
        """
        overlaps = {kind: _both() for kind in ('', '_patches', 'chance')}
        texts: dict[str, Tensor] = {}
        samples = []
        broken: dict[int, str] = {}
        empty = 0
        for indices, (patches, dense), grid in patch_chunks(
            model,
            self.source,
            self.indices,
            self.batch_size,
            broken,
            progress,
            self.name,
        ):
            truths = [self._truth(index) for index in indices]
            self._encode_names(model, truths, texts)
            kinds = {'': dense, '_patches': patches}
            for place, (index, truth) in enumerate(
                zip(indices, truths, strict=True)
            ):
                if not truth[0]:
                    empty += 1
                    continue
                own = {kind: rows[place] for kind, rows in kinds.items()}
                sample = self._score(own, grid, truth, texts, overlaps)
                samples.append({'key': self.source.key(index), **sample})
                self._guess(index, grid, truth, overlaps)
        if not samples:
            raise UsageError(f'{self.name}: no picture has a foreground')
        skipped = {
            'broken pictures': len(broken),
            'pictures without a foreground': empty,
        }
        metrics = {
            **_means('', overlaps['']),
            **_means('_patches', overlaps['_patches']),
        }
        chance = _means('', overlaps['chance'])
        chance.update(_means('_patches', overlaps['chance']))
        return TaskResult(
            self.name,
            metrics,
            samples,
            chance,
            self.report_skipped(skipped, broken),
        )

    def _truth(self, index: int) -> tuple[list[str], np.ndarray]:
        """The classes of a picture and their map."""
        labels, names = self.source.segments(index)
        return given_classes(np.asarray(labels), list(names))

    def _encode_names(
        self,
        model: Any,
        truths: list[tuple[list[str], np.ndarray]],
        texts: dict[str, Tensor],
    ) -> None:
        """Adds the embeddings of class names not met before."""
        met = [name for classes, _ in truths for name in classes]
        new = [name for name in dict.fromkeys(met) if name not in texts]
        if new:
            prompts = [self.prompt.format(name) for name in new]
            rows = encode_texts(model, prompts, self.batch_size)
            texts.update(zip(new, rows, strict=True))

    def _score(
        self,
        kinds: dict[str, Tensor],
        grid: tuple[int, int],
        truth: tuple[list[str], np.ndarray],
        texts: dict[str, Tensor],
        overlaps: dict[str, list[Overlap]],
    ) -> dict[str, Any]:
        """Adds a picture to the overlaps and returns its own numbers."""
        classes, labels = truth
        names = torch.stack([texts[name] for name in classes])
        sample: dict[str, Any] = {'classes': {}}
        for kind, patches in kinds.items():
            predicted = label_patches(
                patches, names, grid, labels.shape, self.upsample
            )
            full, foreground = overlaps[kind]
            ious = full.add(predicted, labels, classes)
            foreground.add(predicted, labels, classes)
            sample[f'miou_image{kind}'] = 100 * full.picture_means[-1]
            sample[f'miou_fg_image{kind}'] = 100 * foreground.picture_means[-1]
            for name, iou in ious.items():
                scores = sample['classes'].setdefault(name, {})
                scores[f'miou{kind}'] = 100 * iou
        return sample

    def _guess(
        self,
        index: int,
        grid: tuple[int, int],
        truth: tuple[list[str], np.ndarray],
        overlaps: dict[str, list[Overlap]],
    ) -> None:
        """Adds random labellings of a picture to chance."""
        classes, labels = truth
        random = np.random.default_rng((self.seed, index))
        for _ in range(self.chance_draws):
            guessed = enlarge(
                random.integers(len(classes), size=grid), labels.shape
            )
            for overlap in overlaps['chance']:
                overlap.add(guessed, labels, classes)


def _both() -> list[Overlap]:
    """Overlap with the background counted, and of the foreground alone."""
    return [Overlap(count_background=True), Overlap(count_background=False)]


def _means(kind: str, overlaps: list[Overlap]) -> dict[str, float]:
    """The four numbers of one kind of patches, under their keys."""
    full, foreground = overlaps
    return {
        f'miou{kind}': full.class_mean,
        f'miou_image{kind}': full.picture_mean,
        f'miou_fg{kind}': foreground.class_mean,
        f'miou_fg_image{kind}': foreground.picture_mean,
    }
