"""Captions that a model writes: how good they are, and how true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.caption_tokens import caption_tokens
from sparc_vlm.evaluation.captions import score_captions
from sparc_vlm.evaluation.clip_score import score_pictures
from sparc_vlm.evaluation.encoding import on_cpu, own_pictures
from sparc_vlm.evaluation.hallucination import (
    ObjectWords,
    chair,
    crowds_of,
    pooled,
)
from sparc_vlm.evaluation.options import check_counts
from sparc_vlm.evaluation.precision import k_precision
from sparc_vlm.evaluation.scene_truth import SCENE_WEIGHTS, scene_truth
from sparc_vlm.evaluation.tagging import Tagger
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.registry import MODELS, TASKS

# What a mean is weighted by; all others count each picture once.
_WEIGHTS = SCENE_WEIGHTS | {
    'chair_i': 'objects_named',
    'object_recall': 'classes_shown',
}

# Measured a second time, of the next picture.
_ELSEWHERE = ('cider', 'k_p', 'k_pna', 'chair_s', 'false_captions')


@dataclass(frozen=True)
class CaptioningResult(TaskResult):
    """What captioning found.

    Attributes:
        notes: What was not measured, and why.
    """

    notes: list[str] = field(default_factory=list)


@TASKS.register_module()
class Captioning(Task):
    """What a captioner writes of pictures, against all that is known of them.

    * 'cider', 'bleu_1' ... 'bleu_4', 'rouge_l', and 'meteor' where Java is:
      against what people wrote, times 100;
    * 'k_p' and 'k_pna', with spaCy: the share of its words, and of its nouns
      and adjectives, that people's captions have;
    * 'clip_score' and 'ref_clip_score', times 100, where there is a model
      with `encode_image` and `encode_text`. The captioner's own eyes judge
      unless another is given: good for comparing captions of one captioner,
      not captioners;
    * where the data have boxes, CHAIR: 'chair_i' of the objects named,
      'chair_s' of the captions, and 'object_recall' (see `chair`);
    * where all of a picture is known (scenes): of what the caption says of
      objects, attributes, counts, relations and the background the share that
      is false, 'false_objects' ...; 'false_captions', of those that say
      anything of the scene, with anything false in them; and, as who says
      nothing says nothing false, 'silent_captions' that say nothing of it,
      'unread_words' of all their words, of what is there the share not said,
      'missed_objects', 'missed_attributes' (of objects that are named) and
      'missed_relations', and 'named_objects', how many a caption names;
    * 'cider_elsewhere', 'k_p_elsewhere' and so on: the same captions measured
      as if they were of the next picture, which is what they score without
      looking;
    * 'words', how many a caption has: longer ones invent more.

    Percent, means over pictures; shares of things that captions name are of
    all things together. A picture whose caption is withheld, as a filter may
    do, is left out and counted: 'captioned' is the share that is left.

    A sample is a picture: its `key`, `caption`, the metrics, what they are
    shares of, and `invented`, the words for what is not so.

    Args:
        dataset: A source of captioned pictures, or the config of one.
        name: The first part of the task's keys in a log.
        batch_size: Pictures that are captioned at a time.
        max_images: Measures on at most so many pictures.
        prompt: What a caption is asked for with; None takes the model's own.
        max_new_tokens: Tokens of a caption at most.
        captions_per_image: Takes the first so many of people's captions;
            None takes all, as COCO's own scores do.
        choose: Config of what chooses among several captions of each
            picture, such as `dict(type='Rerank', by='grounding')`; where it
            takes `classes`, those of the data are given.
        judge: What has `encode_image` and `encode_text`, for CLIPScore.
        meteor: Whether to measure METEOR; None does where Java is.
        k_precision: Whether to measure K-Precision, which takes spaCy.
    """

    def __init__(
        self,
        dataset: Any,
        name: str = 'captioning',
        batch_size: int = 16,
        max_images: int | None = None,
        prompt: str | None = None,
        max_new_tokens: int = 40,
        captions_per_image: int | None = None,
        choose: dict[str, Any] | None = None,
        judge: Any = None,
        meteor: bool | None = None,
        k_precision: bool = True,
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        check_counts(name, captions_per_image=captions_per_image)
        self.captions_per_image = captions_per_image
        self.judge = judge
        self.meteor = meteor
        self.tagger = Tagger() if k_precision else None
        classes = getattr(self.source, 'classes', None)
        self.chooser = choose and _chooser(choose, classes or [])
        has_boxes = classes and hasattr(self.source, 'boxes')
        self.words = ObjectWords.of(classes) if has_boxes else None

    def run(
        self, model: Any, progress: Progress | None = None
    ) -> CaptioningResult:
        """Measures a captioner; see `Task.run`.

        Args:
            model: Has `caption`, as `captioning.load` gives.
            progress: As in `Task.run`.

        Raises:
            ValueError: The model writes no captions, no picture can be read,
                or none has both a caption and a reference with a word in it.
        """
        self.need_captioner(model, 'caption')
        broken: dict[int, str] = {}
        judge = self.judge or getattr(model, 'eyes_model', None)
        if self.chooser:
            model = self.chooser.wrap(model)
        samples, references, images, places = [], [], [], []
        withheld = unknown = 0
        for index, caption, image in self._captions(
            model, judge, broken, progress
        ):
            known = [t for t in self._references(index) if caption_tokens(t)]
            withheld += caption is None
            unknown += caption is not None and not known
            if caption is not None and known:
                key = self.source.key(index)
                truth = self._truth(index, caption, known)
                samples.append({'key': key, 'caption': caption, **truth})
                references.append(known)
                images.append(image)
                places.append(index)
        if not samples:
            raise UsageError(
                f'{self.name}: no picture has both a caption by the model and '
                'one by people with a word in it'
            )
        captions = [sample['caption'] for sample in samples]
        scores = score_captions(captions, references, self.meteor)
        rows = scores.samples
        if judge is not None:
            fits = score_pictures(
                judge,
                torch.stack(images),
                captions,
                references,
                self.batch_size,
            )
            rows = [row | fit for row, fit in zip(rows, fits, strict=True)]
        elsewhere = self._elsewhere(places, captions, references)
        samples = [
            sample | row | other
            for sample, row, other in zip(
                samples, rows, elsewhere, strict=True
            )
        ]
        asked = len(samples) + withheld
        metrics = scores.metrics | _means(samples)
        if self.chooser:
            metrics['captioned'] = 100 * len(samples) / asked
        skipped = {
            'broken pictures': len(broken),
            'pictures whose caption is withheld': withheld,
            'pictures of which nobody wrote': unknown,
        }
        return CaptioningResult(
            self.name,
            metrics,
            samples,
            skipped=self.report_skipped(skipped, broken),
            notes=scores.notes,
        )

    def _captions(
        self,
        model: Any,
        judge: Any,
        broken: dict[int, str],
        progress: Progress | None,
    ) -> Iterator[tuple[int, str | None, Tensor | None]]:
        """Index, caption, and the judge's embedding of each picture."""
        for indices, pictures in own_pictures(self, broken, progress):
            found = model.caption(
                pictures,
                prompt=self.prompt,
                max_new_tokens=self.max_new_tokens,
            )
            images = [None] * len(pictures)
            if judge is not None:
                images = on_cpu(judge.encode_image(pictures).image)
            for index, own, image in zip(indices, found, images, strict=True):
                yield index, own[0] if own else None, image

    def _elsewhere(
        self,
        places: list[int],
        captions: list[str],
        references: list[list[str]],
    ) -> list[dict[str, Any]]:
        """Each caption's numbers if the next picture were the one meant."""
        if len(places) == 1:
            return [{}]
        places, references = (
            [*row[1:], row[0]] for row in (places, references)
        )
        scores = score_captions(captions, references, meteor=False)
        rows = []
        for place, caption, known, score in zip(
            places, captions, references, scores.samples, strict=True
        ):
            found = score | self._truth(place, caption, known)
            rows.append(
                {
                    f'{key}_elsewhere': found[key]
                    for key in _ELSEWHERE
                    if key in found
                }
            )
        return rows

    def _references(self, index: int) -> list[str]:
        return self.source.captions(index)[: self.captions_per_image]

    def _truth(
        self, index: int, caption: str, references: list[str]
    ) -> dict[str, Any]:
        """What of a caption is so."""
        found: dict[str, Any] = {'words': len(caption_tokens(caption))}
        if self.tagger is not None:
            found |= k_precision(self.tagger, caption, references)
        if hasattr(self.source, 'faults'):
            return found | scene_truth(self.source.faults(index, caption))
        if self.words is not None:
            boxes = [row['name'] for row in self.source.boxes(index)]
            crowds = crowds_of(self.source, index)
            found |= chair(self.words, caption, references, boxes, crowds)
        return found


def _chooser(choose: dict[str, Any], classes: list[str]) -> Any:
    """What chooses among captions, told of what there may be to name."""
    build = MODELS.get(choose['type'])
    takes_classes = build and 'classes' in signature(build).parameters
    return MODELS.build(
        dict(choose),
        default_args={'classes': list(classes)} if takes_classes else None,
    )


def _means(samples: list[dict[str, Any]]) -> dict[str, float]:
    """The metrics that are means over samples."""
    means = {}
    for key, value in samples[0].items():
        weight = _WEIGHTS.get(key)
        is_count = key in _WEIGHTS.values()
        if is_count or not isinstance(value, (int, float, type(None))):
            continue
        mean = pooled(samples, key, weight)
        if mean is not None:
            means[key] = mean
    return means
