"""BLEU of captions drawn anew: its counts add up, its value is no mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sparc_vlm.evaluation.statistics import DRAWS

# As pycocoevalcap has it, so that the numbers are the same.
TINY, SMALL = 1e-15, 1e-9


@dataclass(frozen=True)
class BleuScores:
    """What BLEU is counted from, of each caption, at each seed.

    Attributes:
        counts: (S, N, 2 * n + 2): n-grams found and said, of each length up
            to n; the caption's length; and that of its nearest reference.
        draws: How many a bootstrap takes.
    """

    counts: np.ndarray
    draws: int = DRAWS
    is_mean: ClassVar[bool] = False

    @classmethod
    def of_samples(
        cls, order: int, tables: Sequence[Sequence[dict[str, Any]]]
    ) -> BleuScores:
        """BLEU up to an order, from the 'ngrams' of samples at each seed.

        Args:
            order: The longest n-grams, 1 to 4.
            tables: Samples of each seed, in one order.
        """
        return cls(
            np.array(
                [
                    [
                        [
                            *own['found'][:order],
                            *own['said'][:order],
                            own['length'],
                            own['reference'],
                        ]
                        for own in (sample['ngrams'] for sample in table)
                    ]
                    for table in tables
                ],
                float,
            )
        )

    @property
    def seeds(self) -> int:
        """Seeds that the model was trained with."""
        return self.counts.shape[0]

    @property
    def samples(self) -> int:
        """Captions that it was measured on."""
        return self.counts.shape[1]

    def metrics(self, counts: np.ndarray) -> np.ndarray:
        """BLEU times 100 of each seed, for captions drawn so many times.

        Args:
            counts: (B, N), how often each caption is taken.

        Returns:
            (B, S).
        """
        totals = np.einsum('bn,snk->bsk', counts, self.counts)
        order = (totals.shape[-1] - 2) // 2
        found, said = totals[..., :order], totals[..., order : 2 * order]
        precisions = (found + TINY) / (said + SMALL)
        bleu = precisions.prod(-1) ** (1 / order)
        ratio = (totals[..., -2] + TINY) / (totals[..., -1] + SMALL)
        return 100 * bleu * np.exp(np.minimum(1 - 1 / ratio, 0))

    def at(self, rows: Sequence[int]) -> BleuScores:
        """The same of some of the captions, in that order."""
        return BleuScores(self.counts[:, rows], self.draws)
