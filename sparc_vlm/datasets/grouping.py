"""Which pairs make a batch: those in order, or those of like length.

Pairs of a run are numbered, see `loader`. Where texts differ much in length,
most of a batch is padding up to its longest. So the pairs of some batches
are sorted by length before they are dealt out, and these batches shuffled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class InOrder:
    """Batches of pairs as they are numbered.

    Args:
        size: Pairs in a batch of all processes.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def batch(self, position: int) -> np.ndarray:
        """(size,) numbers of the pairs in a batch.

        Args:
            position: Pairs in the batches before.
        """
        return np.arange(position, position + self.size)


class ByLength:
    """Batches of pairs of like length.

    Which they are depends on the seed, the size and the data alone, so that
    a run may begin with any batch.

    Args:
        size: Pairs in a batch of all processes.
        batches: Batches that are sorted together.
        lengths: Lengths of pairs, given their numbers.
        seed: Of the order of the batches.
    """

    def __init__(
        self,
        size: int,
        batches: int,
        lengths: Callable[[np.ndarray], list[int]],
        seed: int,
    ) -> None:
        self.size = size
        self.batches = batches
        self.lengths = lengths
        self.seed = seed
        self._group = -1
        self._sorted: np.ndarray | None = None

    def batch(self, position: int) -> np.ndarray:
        """(size,) numbers of the pairs in a batch, the shortest first.

        Args:
            position: Pairs in the batches before.
        """
        group, place = divmod(position // self.size, self.batches)
        if group != self._group:
            self._sorted, self._group = self._sort(group), group
        return self._sorted[place]

    def _sort(self, group: int) -> np.ndarray:
        """(batches, size) numbers of a group of pairs."""
        count = self.batches * self.size
        draws = np.arange(group * count, (group + 1) * count)
        # Equals stay in their order.
        order = np.argsort(self.lengths(draws), kind='stable')
        rows = draws[order].reshape(self.batches, self.size)
        return np.random.default_rng((self.seed, group, 1)).permutation(rows)
