"""Compositional understanding: is a caption told from one that is false?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import has_words, on_cpu, own_pictures
from sparc_vlm.evaluation.pair_scores import (
    aligned_scores,
    best_patch_scores,
    global_scores,
)
from sparc_vlm.evaluation.ranking import TIE
from sparc_vlm.evaluation.samples import PART
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.evaluation.words import Alignment
from sparc_vlm.registry import TASKS

Pair = tuple[int, str]
"""A picture's place in a chunk, and a text."""

# Weights are whole numbers, so large that rounding does not show.
_WEIGHT = 10**9


@dataclass(frozen=True)
class _Case:
    """A picture's caption and its foils.

    Attributes:
        place: The picture's place in its chunk.
        key: A name for the case, unique in the source.
        kind: In what the foils differ.
        texts: The caption first.
        picture: Of which it is a part, where the source says so.
    """

    place: int
    key: str
    kind: str
    texts: list[str]
    picture: str | None = None

    @property
    def chance(self) -> float:
        """What guessing scores."""
        return 1 / len(self.texts)


@TASKS.register_module()
class Foils(Task):
    """How often a true caption scores more than a false one, in percent.

    A case is right when the caption scores more than its foil, or than all
    of them where it has several; scores nearer than 1e-6 are ties, of which
    each is as likely to be taken, so that a model that scores all alike gets
    chance. Three scores:

    * 'accuracy': cosine of the global embeddings.
    * 'accuracy_best_patch': mean over the caption's tokens of the cosine of
      each one's nearest patch of the local loss.
    * 'accuracy_aligned': the same of each token and the patches that it is
      aligned with, averaged by its weights, as the local loss compares them.

    The two local ones are there where the model has patches, the last also
    needs its `align`. Each is a mean over the kinds of foil, which all count
    alike; 'accuracy/KIND' ... are those of one kind.

    A sample is a case: its `key`, `kind`, `caption`, `foils`, `margin` (by
    how much the caption's cosine is above the best foil's), 'accuracy' ...
    and 'accuracy/KIND' ... between 0 and 1, and `weight`, with which the
    samples' mean is the mean over kinds.

    Args:
        dataset: A source of pictures with foils, or the config of one.
        alignment: Weights of the patches for each token; None takes the
            model's own `align`, where it has one.
        name: The first part of the task's keys in a log.
        batch_size: Pictures, or texts, encoded at a time.
        max_images: Measures on at most so many pictures.

    Raises:
        ValueError: The source has no foils.
    """

    def __init__(
        self,
        dataset: Any,
        alignment: Alignment | None = None,
        name: str = 'foils',
        batch_size: int = 64,
        max_images: int | None = None,
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        if not hasattr(self.source, 'foils'):
            raise UsageError(
                f'{name}: {type(self.source).__name__} has no foils; take a '
                'dataset that has them'
            )
        self.alignment = alignment

    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture can be read, or none has a foil.
        """
        alignment = self.alignment or getattr(model, 'align', None)
        samples: list[dict[str, Any]] = []
        chance: dict[str, list[float]] = defaultdict(list)
        broken: dict[int, str] = {}
        skipped: dict[str, int] = defaultdict(int)
        for indices, pictures in own_pictures(self, broken, progress):
            cases = self._cases(model, indices, skipped)
            images = model.encode_image(pictures)
            bad = ~torch.isfinite(on_cpu(images.image)).all(1)
            skipped['embeddings that are not finite'] += int(bad.sum())
            scores = self._score(model, images, cases, alignment)
            for case in cases:
                samples.append(_sample(case, scores))
                chance[case.kind].append(case.chance)
        if not samples:
            raise UsageError(f'{self.name}: no picture has a foil')
        for sample in samples:
            sample['weight'] = round(_WEIGHT / len(chance[sample['kind']]))
        metrics = _kind_means(samples, list(chance))
        guessed = {kind: 100 * _mean(own) for kind, own in chance.items()}
        guessed[''] = _mean(list(guessed.values()))
        return TaskResult(
            self.name,
            metrics,
            samples,
            {key: guessed[key.partition('/')[2]] for key in metrics},
            self.report_skipped(
                {'broken pictures': len(broken), **skipped}, broken
            ),
        )

    def _cases(
        self, model: Any, indices: Sequence[int], skipped: dict[str, int]
    ) -> list[_Case]:
        """The cases of some pictures; what cannot be used is counted."""
        cases = []
        for place, index in enumerate(indices):
            key, picture = self.source.key(index), None
            if hasattr(self.source, 'picture'):
                picture = self.source.picture(index)
            found = self.source.foils(index)
            skipped['pictures without a foil'] += not found
            for number, row in enumerate(found):
                own = row['foil']
                own = [own] if isinstance(own, str) else own
                texts = list(dict.fromkeys([row['caption'], *own]))
                if len(texts) == 1:
                    skipped['foils that are their caption'] += 1
                elif not all(has_words(model, text) for text in texts):
                    skipped['foils without words'] += 1
                else:
                    name = f'{key}{PART}{number}'
                    case = _Case(place, name, row['kind'], texts, picture)
                    cases.append(case)
        return cases

    def _score(
        self,
        model: Any,
        images: Any,
        cases: list[_Case],
        alignment: Alignment | None,
    ) -> dict[str, dict[Pair, float]]:
        """Scores of all pairs of a chunk, under the metrics' keys."""
        pairs = list(
            dict.fromkeys((c.place, text) for c in cases for text in c.texts)
        )
        scores: dict[str, dict[Pair, float]] = defaultdict(dict)
        for start in range(0, len(pairs), self.batch_size):
            chunk = pairs[start : start + self.batch_size]
            texts = model.encode_text([text for _, text in chunk])
            places = torch.tensor([place for place, _ in chunk])
            for key, values in _pair_scores(
                images, texts, places, alignment
            ).items():
                scores[key].update(zip(chunk, values.tolist(), strict=True))
        return scores


def _pair_scores(
    images: Any, texts: Any, places: Tensor, alignment: Alignment | None
) -> dict[str, Tensor]:
    """(B,) scores of B texts, each with the picture at its place."""
    own = on_cpu(images.image)[places]
    scores = {'accuracy': global_scores(own, on_cpu(texts.text))}
    patches = on_cpu(images.patches)[places]
    # Models without patches in the space of text hand on none.
    if patches.shape[1]:
        local = on_cpu(texts.tokens), texts.token_mask.cpu(), patches
        scores['accuracy_best_patch'] = best_patch_scores(*local)
        if alignment is not None:
            aligned = aligned_scores(*local, alignment)
            scores['accuracy_aligned'] = aligned
    return scores


def _sample(
    case: _Case, scores: dict[str, dict[Pair, float]]
) -> dict[str, Any]:
    """What is told of one case."""
    caption, *foils = case.texts
    sample = {
        'key': case.key,
        'kind': case.kind,
        'caption': caption,
        'foils': foils,
    }
    if case.picture is not None:
        sample['picture'] = case.picture
    for key, found in scores.items():
        true, *false = (found[case.place, text] for text in case.texts)
        above = sum(score > true + TIE for score in false)
        tied = sum(abs(score - true) <= TIE for score in false)
        right = 0.0 if above else 1 / (1 + tied)
        sample[key] = sample[f'{key}/{case.kind}'] = right
        if key == 'accuracy':
            sample['margin'] = true - max(false)
    return sample


def _kind_means(
    samples: list[dict[str, Any]], kinds: list[str]
) -> dict[str, float]:
    """Accuracies in percent: the means over kinds, and each kind's own."""
    means, singles = {}, {}
    for key in [key for key in samples[0] if key.startswith('accuracy')]:
        if '/' not in key:
            for kind in kinds:
                name = f'{key}/{kind}'
                own = [s[name] for s in samples if name in s]
                singles[name] = 100 * _mean(own)
            means[key] = _mean([singles[f'{key}/{kind}'] for kind in kinds])
    return means | singles


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
