"""Zero-shot image-text retrieval, both ways, any caption of the picture."""

from __future__ import annotations

from typing import Any

import torch

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.options import check_counts, positive_ks
from sparc_vlm.evaluation.pool import Pool, encode_pool
from sparc_vlm.evaluation.ranking import (
    Ranks,
    hit_probability,
    rank_both_ways,
)
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.registry import TASKS

Samples = list[dict[str, Any]]
Numbers = dict[str, float]


@TASKS.register_module()
class Retrieval(Task):
    """R@K of image-to-text ('i2t_r1' ...) and text-to-image ('t2i_r1' ...).

    Image-to-text counts a hit when any of the picture's captions is among
    the first K of all captions. Ties: expected recall over random orders of
    what scores the same (see `Ranks.recall`), so that neither a collapsed
    model nor captions repeated word for word inflate or sink the number.

    With `folds`, the same numbers under 'fold_i2t_r1' ... are means over
    equal parts of the pictures, in the order of the source, each ranked by
    itself: on the 5000 test pictures of Karpathy's COCO five folds are what
    the field calls COCO 1k, and the numbers without 'fold_' are COCO 5k. Both
    come from one pass through the encoders. A picture that cannot be read
    leaves a gap in its fold, and a fold without a caption is left out.

    A sample is a picture: its `key`, `i2t_rank` and `t2i_ranks` (expected,
    from 1), `i2t_r1` ... and `t2i_r1` ... (mean over its captions), and
    `top_caption` with `top_caption_key`, the caption retrieved first and the
    picture it belongs to; with `folds` also `fold`, the number of its fold,
    and 'fold_i2t_r1' ....

    Args:
        dataset: A source of captioned pictures, or the config of one.
        name: The first part of the task's keys in a log.
        batch_size: Pictures, or captions, encoded at a time.
        max_images: Measures on at most so many pictures.
        captions_per_image: Takes the first so many captions of a picture
            (five in the field's protocol); None takes all.
        ks: The K of R@K.
        folds: Parts that are measured by themselves as well; None for none.

    Raises:
        ValueError: Fewer pictures than folds, or less than two folds.
    """

    def __init__(
        self,
        dataset: Any,
        name: str = 'retrieval',
        batch_size: int = 64,
        max_images: int | None = None,
        captions_per_image: int | None = 5,
        ks: tuple[int, ...] = (1, 5, 10),
        folds: int | None = None,
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        if folds is not None and not 2 <= folds <= len(self.indices):
            raise UsageError(
                f'{name}: folds must be between 2 and the number of pictures '
                f'({len(self.indices)}), got {folds}; leave it out for none'
            )
        check_counts(name, captions_per_image=captions_per_image)
        self.captions_per_image = captions_per_image
        self.ks = positive_ks(ks, name)
        self.folds = folds

    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture can be read, or none has a caption.
        """
        pool, skipped = encode_pool(
            self, model, self.captions_per_image, progress
        )
        metrics, chance, samples = self._measure(pool)
        if self.folds is not None:
            folded, guessed = self._measure_folds(pool, samples)
            metrics, chance = metrics | folded, chance | guessed
        return TaskResult(self.name, metrics, samples, chance, skipped)

    def _measure(self, pool: Pool) -> tuple[Numbers, Numbers, Samples]:
        """Recalls of a pool in percent, chance, and the samples."""
        owners = torch.tensor(pool.owners)
        i2t, t2i = rank_both_ways(pool.images, pool.captions, owners)
        recalls = {
            f'{way}_r{k}': 100 * float(ranks.recall(k).mean())
            for way, ranks in (('i2t', i2t), ('t2i', t2i))
            for k in self.ks
        }
        return recalls, self._chance(pool), self._samples(i2t, t2i, pool)

    def _measure_folds(
        self, pool: Pool, samples: Samples
    ) -> tuple[Numbers, Numbers]:
        """Means over folds of recalls and of chance; adds to the samples."""
        by_key = {sample['key']: sample for sample in samples}
        found: list[Numbers] = []
        guessed: list[Numbers] = []
        count = len(self.indices)
        ends = [count * fold // self.folds for fold in range(self.folds + 1)]
        for fold in range(self.folds):
            part = pool.part(set(self.indices[ends[fold] : ends[fold + 1]]))
            if not part.owners:
                continue
            recalls, chance, own = self._measure(part)
            found.append(recalls)
            guessed.append(chance)
            for sample in own:
                hits = {f'fold_{key}': sample[key] for key in recalls}
                by_key[sample['key']].update(fold=fold, **hits)
        return _means(found), _means(guessed)

    def _chance(self, pool: Pool) -> Numbers:
        """What a random order scores, in percent."""
        per_image = torch.tensor([len(texts) for texts in pool.own.values()])
        total = torch.tensor(len(pool.owners))
        chance = {}
        for k in self.ks:
            hits = hit_probability(
                torch.tensor(k), per_image, total - per_image
            )
            chance[f'i2t_r{k}'] = 100 * float(hits.mean())
            chance[f't2i_r{k}'] = 100 * min(k / len(pool.indices), 1.0)
        return chance

    def _samples(self, i2t: Ranks, t2i: Ranks, pool: Pool) -> Samples:
        """One dict a picture that has a caption."""
        hits = {
            **{f'i2t_r{k}': i2t.recall(k) for k in self.ks},
            **{f't2i_r{k}': t2i.recall(k) for k in self.ks},
        }
        samples = []
        for query, (owner, captions) in enumerate(pool.own.items()):
            top = int(i2t.top[query])
            first = pool.indices[pool.owners[top]]
            sample = {
                'key': self.source.key(pool.indices[owner]),
                'i2t_rank': float(i2t.expected[query]),
                't2i_ranks': t2i.expected[captions].tolist(),
                'top_caption': pool.texts[top],
                'top_caption_key': self.source.key(first),
            }
            for key, values in hits.items():
                at = query if key.startswith('i2t') else captions
                sample[key] = float(values[at].mean())
            samples.append(sample)
        return samples


def _means(rows: list[Numbers]) -> Numbers:
    """Means over folds, under the keys of folds."""
    return {
        f'fold_{key}': sum(row[key] for row in rows) / len(rows)
        for key in rows[0]
    }
