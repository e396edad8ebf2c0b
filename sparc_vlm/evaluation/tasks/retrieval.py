"""Zero-shot image-text retrieval, both ways, any caption of the picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import (
    encode_texts,
    has_words,
    image_chunks,
    on_cpu,
)
from sparc_vlm.evaluation.ranking import (
    Ranks,
    hit_probability,
    rank_both_ways,
)
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.registry import TASKS


@TASKS.register_module()
class Retrieval(Task):
    """R@K of image-to-text ('i2t_r1' ...) and text-to-image ('t2i_r1' ...).

    Image-to-text counts a hit when any of the picture's captions is among
    the first K of all captions. Ties: expected recall over random orders of
    what scores the same (see `Ranks.recall`), so that neither a collapsed
    model nor captions repeated word for word inflate or sink the number.

    A sample is a picture: its `key`, `i2t_rank` and `t2i_ranks` (expected,
    from 1), `i2t_r1` ... and `t2i_r1` ... (mean over its captions), and
    `top_caption` with `top_caption_key`, the caption retrieved first and the
    picture it belongs to.

    Args:
        dataset: A source of captioned pictures, or the config of one.
        name: The first part of the task's keys in a log.
        batch_size: Pictures, or captions, encoded at a time.
        max_images: Measures on at most so many pictures.
        captions_per_image: Takes the first so many captions of a picture
            (five in the field's protocol); None takes all.
        ks: The K of R@K.
    """

    def __init__(
        self,
        dataset: Any,
        name: str = 'retrieval',
        batch_size: int = 64,
        max_images: int | None = None,
        captions_per_image: int | None = 5,
        ks: tuple[int, ...] = (1, 5, 10),
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        self.captions_per_image = captions_per_image
        self.ks = tuple(ks)

    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture can be read, or none has a caption.
        """
        kept: list[int] = []
        rows: list[Tensor] = []
        broken: dict[int, str] = {}
        for indices, pictures in image_chunks(
            self.source, self.indices, self.batch_size, broken, progress
        ):
            rows.append(on_cpu(model.encode_image(pictures).image))
            kept += indices
        texts, owners, empty = self._captions(model, kept)
        images = torch.cat(rows)
        captions = encode_texts(model, texts, self.batch_size, progress)
        skipped = {
            'broken pictures': len(broken),
            'empty captions': empty,
            'pictures without a caption': len(kept) - len(set(owners)),
            'embeddings that are not finite': _count_bad(images)
            + _count_bad(captions),
        }
        i2t, t2i = rank_both_ways(images, captions, torch.tensor(owners))
        return TaskResult(
            self.name,
            self._metrics(i2t, t2i),
            self._samples(i2t, t2i, kept, texts, owners),
            self._chance(len(kept), owners),
            self.report_skipped(skipped, broken),
        )

    def _captions(
        self, model: Any, kept: list[int]
    ) -> tuple[list[str], list[int], int]:
        """Captions, the place in `kept` of each one's picture, empty ones."""
        texts: list[str] = []
        owners: list[int] = []
        empty = 0
        for place, index in enumerate(kept):
            own = self.source.captions(index)[: self.captions_per_image]
            filled = [caption for caption in own if has_words(model, caption)]
            empty += len(own) - len(filled)
            texts += filled
            owners += [place] * len(filled)
        if not texts:
            raise UsageError(
                f'{self.name}: none of the {len(kept)} pictures has a caption'
            )
        return texts, owners, empty

    def _metrics(self, i2t: Ranks, t2i: Ranks) -> dict[str, float]:
        """Recalls in percent."""
        return {
            f'{way}_r{k}': 100 * float(ranks.recall(k).mean())
            for way, ranks in (('i2t', i2t), ('t2i', t2i))
            for k in self.ks
        }

    def _chance(self, pictures: int, owners: list[int]) -> dict[str, float]:
        """What a random order scores, in percent."""
        per_image = torch.bincount(torch.tensor(owners))
        per_image = per_image[per_image > 0]
        total = torch.tensor(len(owners))
        chance = {}
        for k in self.ks:
            hits = hit_probability(
                torch.tensor(k), per_image, total - per_image
            )
            chance[f'i2t_r{k}'] = 100 * float(hits.mean())
            chance[f't2i_r{k}'] = 100 * min(k / pictures, 1.0)
        return chance

    def _samples(
        self,
        i2t: Ranks,
        t2i: Ranks,
        kept: list[int],
        texts: list[str],
        owners: list[int],
    ) -> list[dict[str, Any]]:
        """One dict a picture that has a caption."""
        own: dict[int, list[int]] = {}
        for text, owner in enumerate(owners):
            own.setdefault(owner, []).append(text)
        hits = {
            **{f'i2t_r{k}': i2t.recall(k) for k in self.ks},
            **{f't2i_r{k}': t2i.recall(k) for k in self.ks},
        }
        samples = []
        for query, (owner, captions) in enumerate(own.items()):
            top = int(i2t.top[query])
            sample = {
                'key': self.source.key(kept[owner]),
                'i2t_rank': float(i2t.expected[query]),
                't2i_ranks': t2i.expected[captions].tolist(),
                'top_caption': texts[top],
                'top_caption_key': self.source.key(kept[owners[top]]),
            }
            for key, values in hits.items():
                at = query if key.startswith('i2t') else captions
                sample[key] = float(values[at].mean())
            samples.append(sample)
        return samples


def _count_bad(embeddings: Tensor) -> int:
    """Rows with a value that is not finite."""
    return int((~torch.isfinite(embeddings).all(1)).sum())
