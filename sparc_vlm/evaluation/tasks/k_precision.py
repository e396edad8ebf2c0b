"""K-Precision: is what the retrieved caption says true of the picture?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sparc_vlm.evaluation.options import check_counts
from sparc_vlm.evaluation.pool import Pool, encode_pool
from sparc_vlm.evaluation.precision import k_precision
from sparc_vlm.evaluation.ranking import rank_both_ways
from sparc_vlm.evaluation.tagging import Tagger
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.registry import TASKS

Numbers = dict[str, float | None]


@TASKS.register_module()
class KPrecision(Task):
    """Faithfulness of the caption that is retrieved first, in percent.

    Of all captions of the data the one with the highest cosine is taken for
    each picture. Its K-Precision is the share of its words that the picture's
    own captions have: 'k_p' of all words, 'k_pna' of nouns and adjectives.
    A mean over pictures. One of the picture's own captions scores 100.

    Words are spaCy's English tokens that have a letter or a digit, in lower
    case, and not stemmed; nouns and adjectives are tagged by its small
    pipeline (see `tagging`). Repeats are clipped as BLEU clips them: a word
    that the caption has twice counts twice only if one of the picture's
    captions has it twice.

    Beside the metrics stands what can be hoped for: 'k_p_own', 'k_pna_own',
    the picture's first caption measured against its others. Chance is a
    caption drawn at random from all.

    A sample is a picture: its `key`, 'k_p', 'k_pna', 'k_p_own', 'k_pna_own';
    `top_caption` with `top_caption_key`, the picture it belongs to. A number
    is None where there is nothing to count, such as a caption without a noun,
    and left out of the mean.

    Args:
        dataset: A source of captioned pictures, or the config of one.
        name: The first part of the task's keys in a log.
        batch_size: Pictures, or captions, encoded at a time.
        max_images: Measures on at most so many pictures.
        captions_per_image: Takes the first so many captions of a picture;
            None takes all.
        chance_draws: Random captions for each picture, for chance.
        seed: Of these.

    Raises:
        ImportError: spaCy or its English pipeline is not installed.
    """

    def __init__(
        self,
        dataset: Any,
        name: str = 'k_precision',
        batch_size: int = 64,
        max_images: int | None = None,
        captions_per_image: int | None = 5,
        chance_draws: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        check_counts(name, captions_per_image=captions_per_image)
        self.captions_per_image = captions_per_image
        self.chance_draws = chance_draws
        self.seed = seed
        self.tagger = Tagger()

    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Measures a model; see `Task.run`.

        Raises:
            ValueError: No picture can be read, or none has a caption.
        """
        pool, skipped = encode_pool(
            self, model, self.captions_per_image, progress
        )
        owners = torch.tensor(pool.owners)
        ranks, _ = rank_both_ways(pool.images, pool.captions, owners)
        tops = ranks.top.tolist()
        random = np.random.default_rng(self.seed)
        draws = random.integers(
            len(pool.texts), size=(len(tops), self.chance_draws)
        )
        firsts = [own[0] for own in pool.own.values()]
        looked_at = {*tops, *firsts, *draws.flatten().tolist()}
        self.tagger.tag(pool.texts[place] for place in sorted(looked_at))
        samples, guesses = [], []
        for row, (owner, own) in enumerate(pool.own.items()):
            samples.append(self._sample(pool, owner, own, tops[row]))
            references = [pool.texts[place] for place in own]
            guesses += [
                k_precision(self.tagger, pool.texts[place], references)
                for place in draws[row]
            ]
        keys = ('k_p', 'k_pna', 'k_p_own', 'k_pna_own')
        skipped |= self.report_skipped(
            {
                'retrieved captions without a noun or adjective': sum(
                    sample['k_pna'] is None for sample in samples
                )
            },
            {},
        )
        return TaskResult(
            self.name,
            _means(samples, keys),
            samples,
            _means(guesses, keys[:2]),
            skipped,
        )

    def _sample(
        self, pool: Pool, owner: int, own: list[int], top: int
    ) -> dict[str, Any]:
        """One picture's sample."""
        first, *others = (pool.texts[place] for place in own)
        hoped: Numbers = {'k_p': None, 'k_pna': None}
        if others:
            hoped = k_precision(self.tagger, first, others)
        found = k_precision(self.tagger, pool.texts[top], [first, *others])
        source = pool.indices[pool.owners[top]]
        return {
            'key': self.source.key(pool.indices[owner]),
            **found,
            **{f'{key}_own': value for key, value in hoped.items()},
            'top_caption': pool.texts[top],
            'top_caption_key': self.source.key(source),
        }


def _means(rows: list[Numbers], keys: tuple[str, ...]) -> dict[str, float]:
    """Means of the numbers that there are."""
    known = {
        key: [row[key] for row in rows if row[key] is not None] for key in keys
    }
    return {k: float(np.mean(v)) for k, v in known.items() if v}
