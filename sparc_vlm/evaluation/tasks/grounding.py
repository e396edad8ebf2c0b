"""Grounding: does a phrase of a caption find its boxes in the picture?"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import has_words, own_patches
from sparc_vlm.evaluation.heat_maps import (
    WHOLE,
    Box,
    box_around,
    enclosing,
    enlarge_maps,
    inside,
    overlaps,
    points_at,
)
from sparc_vlm.evaluation.phrases import (
    Maps,
    Phrase,
    cosine_alignment,
    phrase_maps,
    tells_words,
)
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.evaluation.words import Alignment
from sparc_vlm.registry import TASKS

Numbers = dict[str, float]
IOU = 0.5
CHANCE = 'chance_'


@dataclass(frozen=True)
class GroundingResult(TaskResult):
    """What grounding found.

    Attributes:
        per_type: Of each type of phrase, such as 'people', the metrics over
            its phrases, and `phrases`, how many there are. A phrase of
            several types counts for each.
    """

    per_type: dict[str, Numbers] = field(default_factory=dict)


@TASKS.register_module()
class Grounding(Task):
    """Pointing game and box recall of phrases, in percent, over phrases.

    A phrase has a heat map over the patches, made in three ways:

    * no ending: the weights of the local patches for the phrase's tokens,
      read in the whole caption, by the model's own alignment (by cosine for
      a model without one); mean over the tokens;
    * '_last': the same for the phrase's last token, mostly its noun;
    * '_text': cosine of `dense`, the patches in the space of the global
      text, with the embedding of the phrase alone.

    Only '_text' is measured where the model's tokenizer does not tell which
    word a token belongs to; a line in the log says so.

    Each map is enlarged (bilinear), its minimum taken away, and measured:

    * 'pointing': a hit is when the maximum lies in any of the phrase's
      boxes; of several maxima, the share that does.
    * 'recall': the box around the map's largest region above `share` of its
      maximum has an IoU of at least 0.5 with any of the phrase's boxes; with
      'recall_merged', with the smallest box that encloses all of them. The
      field uses both; they differ where a phrase has several boxes.

    Chance is the share of the picture that the boxes cover, and the recall
    of the box of the whole picture. People put things into the middle:
    'pointing_centre' is what pointing at the centre of each picture scores.
    Phrases that have no box are not asked for.

    A sample is a picture: its `key`, `phrases` (how many were asked), the
    metrics over these, and the chance of each as `chance_pointing` ....

    Args:
        dataset: A source of pictures with phrases, or the config of one.
        alignment: Weights of the patches for each token; None takes the
            model's own `align`.
        name: The first part of the task's keys in a log.
        batch_size: Pictures, or captions, encoded at a time.
        max_images: Measures on at most so many pictures.
        share: Of a map's maximum, for the box.
        size: Side of the enlarged maps in pixels.

    Raises:
        ValueError: The source has no phrases, or a number is out of range.
    """

    def __init__(
        self,
        dataset: Any,
        alignment: Alignment | None = None,
        name: str = 'grounding',
        batch_size: int = 64,
        max_images: int | None = None,
        share: float = 0.5,
        size: int = 224,
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        if not hasattr(self.source, 'phrases'):
            raise UsageError(
                f'{name}: {type(self.source).__name__} has no phrases; take '
                'a dataset that has them, such as FlickrEntities'
            )
        if not 0 < share <= 1 or size < 1:
            raise UsageError(
                f'{name}: share lies above 0 and up to 1, and size is at '
                f'least 1, got {share} and {size}'
            )
        self.alignment = alignment
        self.share = share
        self.size = size

    def run(
        self, model: Any, progress: Progress | None = None
    ) -> GroundingResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture can be read, or there is no phrase.
        """
        alignment = self._alignment(model)
        rows: list[Numbers] = []
        kinds: dict[str, list[Numbers]] = defaultdict(list)
        samples = []
        broken: dict[int, str] = {}
        silent = cut = 0
        for indices, (patches, dense), grid in own_patches(
            self, model, broken, progress
        ):
            phrases = [self._phrases(model, index) for index in indices]
            maps = phrase_maps(
                model,
                [self.source.captions(index) for index in indices],
                phrases,
                patches,
                dense,
                alignment,
                self.batch_size,
            )
            for place, index in enumerate(indices):
                pairs = zip(phrases[place], maps[place], strict=True)
                asked = [pair for pair in pairs if pair[1]]
                cut += len(self.source.phrases(index)) - len(asked)
                if not asked:
                    silent += 1
                    continue
                own = [self._score(*pair, grid) for pair in asked]
                sample = {'key': self.source.key(index), 'phrases': len(own)}
                samples.append(sample | _means(own))
                rows += own
                for (phrase, _), scores in zip(asked, own, strict=True):
                    for kind in set(phrase['types']):
                        kinds[kind].append(scores)
        if not rows:
            raise UsageError(f'{self.name}: no phrase has a token')
        skipped = {
            'broken pictures': len(broken),
            'pictures without a phrase': silent,
            'phrases without a token': cut,
        }
        means = _means(rows)
        metrics = {key: means[key] for key in means if CHANCE not in key}
        return GroundingResult(
            self.name,
            metrics,
            samples,
            {key: means[CHANCE + _measure(key)] for key in metrics},
            self.report_skipped(skipped, broken),
            {
                kind: {'phrases': len(kinds[kind]), **_means(kinds[kind])}
                for kind in sorted(kinds)
            },
        )

    def _alignment(self, model: Any) -> Alignment | None:
        """How tokens are aligned; None, and a word, where none are known."""
        if tells_words(model):
            own = self.alignment or getattr(model, 'align', None)
            return own or cosine_alignment
        print_log(
            f'{self.name}: {type(model).__name__} does not tell which words '
            'its tokens belong to: only the embeddings of whole phrases are '
            'measured',
            logger='current',
            level=logging.WARNING,
        )
        return None

    def _phrases(self, model: Any, index: int) -> list[Phrase]:
        """The phrases of a picture that say anything to the model."""
        phrases = self.source.phrases(index)
        return [p for p in phrases if has_words(model, p['text'])]

    def _score(
        self, phrase: Phrase, maps: Maps, grid: tuple[int, int]
    ) -> Numbers:
        """What a phrase's maps score, and chance, in percent."""
        boxes = phrase['boxes']
        merged = [enclosing(boxes)]
        mask = inside(boxes, self.size)

        def recall(box: Box, targets: Sequence[Box]) -> float:
            return 100 * float(overlaps(box, targets).max() >= IOU)

        scores = {
            f'{CHANCE}pointing': 100 * float(mask.mean()),
            f'{CHANCE}recall': recall(WHOLE, boxes),
            f'{CHANCE}recall_merged': recall(WHOLE, merged),
            'pointing_centre': 100 * float(mask[(self.size // 2,) * 2]),
        }
        endings = sorted(maps)
        weights = torch.stack([maps[ending] for ending in endings])
        heats = enlarge_maps(weights, grid, self.size)
        for ending, heat in zip(endings, heats, strict=True):
            box = box_around(heat, self.share)
            scores[f'pointing{ending}'] = 100 * points_at(heat, mask)
            scores[f'recall{ending}'] = recall(box, boxes)
            scores[f'recall_merged{ending}'] = recall(box, merged)
        return scores


def _measure(key: str) -> str:
    """The measure of a metric, without what it was measured on."""
    return re.sub('_(last|text|centre)$', '', key)


def _means(rows: list[Numbers]) -> Numbers:
    """Means over phrases."""
    return {key: float(np.mean([r[key] for r in rows])) for key in rows[0]}
