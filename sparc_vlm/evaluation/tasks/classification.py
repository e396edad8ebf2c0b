"""Zero-shot classification: the class whose name lies nearest by cosine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import image_chunks, on_cpu
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
from sparc_vlm.evaluation.options import positive_ks
from sparc_vlm.evaluation.prompts import class_embeddings, prompt_list
from sparc_vlm.evaluation.ranking import unit_rows
from sparc_vlm.evaluation.task import Progress, Task
from sparc_vlm.registry import TASKS


@TASKS.register_module()
class Classification(Task):
    """Accuracy of the nearest class name, in percent.

    'top1' and 'top5' are over pictures, 'top1_class_mean' is the mean over
    classes of their own top-1, which `per_class` of the result has one by
    one. Classes that score the same stand in random order, so that a model
    that scores everything alike gets chance. Of a source with groups
    (ImageNet-C, -V2) the three are means over the groups, and 'top1/GROUP'
    ... are there for each.

    A sample is a picture: its `key`, `label`, `predicted`, the `rank` of its
    label (expected, from 1), 'top1' ... (the probability of a hit), and its
    `group`, if it has one.

    Args:
        dataset: A source of labelled pictures, or the config of one.
        prompts: 'one' (see `prompts.ONE`), 'ensemble' (`prompts.ENSEMBLE`),
            a wording with '{}' where the name goes, or several.
        name: The first part of the task's keys in a log.
        batch_size: Pictures, or texts, encoded at a time.
        max_images: Measures on at most so many pictures.
        ks: The k of top-k; the first is taken for the classes' own.

    Raises:
        ValueError: The source has no labels, or a prompt no '{}'.
    """

    def __init__(
        self,
        dataset: Any,
        prompts: str | Sequence[str] = 'one',
        name: str = 'classification',
        batch_size: int = 64,
        max_images: int | None = None,
        ks: Sequence[int] = (1, 5),
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        self.classes = need_classes(self.source, name)
        self.prompts = prompt_list(prompts)
        self.ks = positive_ks(ks, name)

    def run(self, model: Any, progress: Progress | None = None) -> ClassResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture can be read, or none has one label.
        """
        texts = class_embeddings(
            model, self.classes, self.prompts, self.batch_size, progress
        )
        names = distinct(self.classes)
        labelled = [i for i in self.indices if self.source.label(i) >= 0]
        if not labelled:
            raise UsageError(f'{self.name}: no picture has one label')
        samples = []
        broken: dict[int, str] = {}
        bad = int((texts == 0).all(1).sum())
        for indices, pictures in image_chunks(
            self.source,
            labelled,
            self.batch_size,
            broken,
            progress,
            self.name,
        ):
            images = on_cpu(model.encode_image(pictures).image)
            bad += int((~torch.isfinite(images).all(1)).sum())
            labels = torch.tensor([self.source.label(i) for i in indices])
            ranks = rank_labels(cosines(images, texts), labels)
            samples += class_samples(
                self.source, indices, labels, ranks, names, self.ks
            )
        metrics = class_metrics(samples, self.ks)
        skipped = {
            'broken pictures': len(broken),
            'pictures without one label': len(self.indices) - len(labelled),
            'embeddings that are not finite': bad,
        }
        return ClassResult(
            self.name,
            metrics,
            samples,
            guessing(metrics, len(names)),
            self.report_skipped(skipped, broken),
            per_class(samples, f'top{self.ks[0]}'),
        )


# Tasks run under autocast while training; bf16 scores would tie at random.
@torch.autocast('cpu', enabled=False)
def cosines(images: Tensor, texts: Tensor) -> Tensor:
    """(B, C) cosines of pictures and classes; 0 where one is not finite."""
    return unit_rows(images) @ texts.T
