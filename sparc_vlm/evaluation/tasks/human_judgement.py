"""Agreement of a model's scores of captions with what people think."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from scipy import stats

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import (
    encode_texts,
    has_words,
    on_cpu,
    own_pictures,
)
from sparc_vlm.evaluation.precision import k_precision
from sparc_vlm.evaluation.ranking import unit_rows
from sparc_vlm.evaluation.tagging import Tagger
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.registry import TASKS

Variant = Literal['b', 'c']
# Digits of a cosine that float32 can tell apart.
DIGITS = 6


def kendall(
    scores: Sequence[float], judged: Sequence[Sequence[float]], kind: Variant
) -> float:
    """Kendall's tau times 100, every judgement an observation of its own.

    Args:
        scores: Of N captions.
        judged: What each of the captions was judged, once or more.
        kind: 'b', which counts ties of either side out of the most that tau
            may be, or 'c', which corrects for how many grades there are.

    Returns:
        Between -100 and 100; 0 where either side gives all captions the same,
        which orders nothing.
    """
    ours = [s for s, own in zip(scores, judged, strict=True) for _ in own]
    theirs = [value for own in judged for value in own]
    if len(set(ours)) < 2 or len(set(theirs)) < 2:
        return 0.0
    return 100 * float(stats.kendalltau(ours, theirs, variant=kind).statistic)


@TASKS.register_module()
class HumanJudgement(Task):
    """Kendall's tau between scores of captions and human judgements.

    'cosine_tau_b' and 'cosine_tau_c' (times 100) are of the cosine of picture
    and caption, over all pairs that were judged. A caption that several
    people judged is so many observations. The field reports tau-c for
    Flickr8k's experts, tau-b for CrowdFlower.

    With `k_precision`, 'k_p_tau_b' ... and 'k_pna_tau_b' ... are the same of
    K-Precision against the picture's captions, the judged one left out: what
    a measure says that knows captions and sees no picture.

    A sample is a pair: its `key`, picture and caption; `cosine`, `scores`
    (the judgements), and with `k_precision` 'k_p' and 'k_pna', percent.

    Args:
        dataset: A source of pictures with judgements, or the config of one.
        name: The first part of the task's keys in a log.
        batch_size: Pictures, or captions, encoded at a time.
        max_images: Measures on at most so many pictures.
        k_precision: Whether K-Precision is measured beside, which takes
            spaCy.

    Raises:
        ValueError: The source has no judgements.
        ImportError: K-Precision is asked for and spaCy is not installed.
    """

    def __init__(
        self,
        dataset: Any,
        name: str = 'human_judgement',
        batch_size: int = 64,
        max_images: int | None = None,
        k_precision: bool = True,
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        if not hasattr(self.source, 'judgements'):
            raise UsageError(
                f'{name}: {type(self.source).__name__} has no judgements; '
                'take a dataset that has them, such as Flickr8kJudgements'
            )
        self.tagger = Tagger() if k_precision else None

    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture can be read, or nothing was judged.
        """
        samples: list[dict[str, Any]] = []
        broken: dict[int, str] = {}
        empty = bad = 0
        for indices, pictures in own_pictures(self, broken, progress):
            images = on_cpu(model.encode_image(pictures).image)
            pairs = [
                (place, index, judged)
                for place, index in enumerate(indices)
                for judged in self.source.judgements(index)
            ]
            told = [p for p in pairs if has_words(model, p[2]['caption'])]
            empty += len(pairs) - len(told)
            if not told:
                continue
            captions = [judged['caption'] for _, _, judged in told]
            texts = encode_texts(model, captions, self.batch_size)
            rows = images[[place for place, _, _ in told]]
            finite = torch.isfinite(rows).all(1) & torch.isfinite(texts).all(1)
            bad += int((~finite).sum())
            cosines = (unit_rows(rows) * unit_rows(texts)).sum(1).tolist()
            for (_, index, judged), cosine in zip(told, cosines, strict=True):
                samples.append(self._sample(index, judged, cosine))
        if not samples:
            raise UsageError(f'{self.name}: no caption was judged')
        metrics = _taus(samples)
        skipped = {
            'broken pictures': len(broken),
            'empty captions': empty,
            'pairs whose embeddings are not finite': bad,
        }
        return TaskResult(
            self.name,
            metrics,
            samples,
            dict.fromkeys(metrics, 0.0),
            self.report_skipped(skipped, broken),
        )

    def _sample(
        self, index: int, judged: dict[str, Any], cosine: float
    ) -> dict[str, Any]:
        """One pair's sample."""
        sample = {
            'key': f'{self.source.key(index)} {judged["key"]}',
            'cosine': round(cosine, DIGITS),
            'scores': judged['scores'],
        }
        if self.tagger is None:
            return sample
        own = self.source.captions(index)
        others = [text for text in own if text != judged['caption']]
        return sample | k_precision(self.tagger, judged['caption'], others)


def _taus(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Both taus of each score that the samples have."""
    taus = {}
    for score in ('cosine', 'k_p', 'k_pna'):
        known = [s for s in samples if s.get(score) is not None]
        for kind in ('b', 'c') if known else ():
            taus[f'{score}_tau_{kind}'] = kendall(
                [sample[score] for sample in known],
                [sample['scores'] for sample in known],
                kind,
            )
    return taus
