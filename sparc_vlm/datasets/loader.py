"""Endless batches of pairs, resumable to the batch without reading a pair.

The pairs of a run are numbered. Number k is the picture that the permutation
of epoch k // N has at place k % N; processes take turns. A position is
therefore one number, and what it stands for does not depend on the number of
workers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from torch.utils.data import DataLoader

from sparc_vlm.datasets.grouping import ByLength, InOrder
from sparc_vlm.datasets.pairs import PairDataset
from sparc_vlm.datasets.report import add_report
from sparc_vlm.datasets.transforms import collate
from sparc_vlm.datasets.workers import start_batches, start_worker
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import DATASETS, LOADERS


@LOADERS.register_module()
class PairLoader:
    """Batches of a `PairDataset`, shuffled anew every epoch, without end.

    Batches run on over the end of an epoch, so that all have the same size.

    Args:
        dataset: A `PairDataset`, or another asked for by (index, draw) that
            has a `source` and may have a `collate` of its own; or the config
            of one. Its `seed` is this one unless the config has its own.
        batch_size: Pairs in a batch of one process.
        num_workers: Processes that make batches ahead; 0 makes them here.
        seed: Of the order and, through the dataset, of every random choice.
        shuffle: Another order every epoch; False keeps the source's order.
        prefetch: Batches that each worker makes ahead.
        group: Batches of which the pairs are sorted by length before they
            are dealt out, for a dataset that has `length((index, draw))`; 1
            leaves pairs in their order.

    Raises:
        ValueError: A batch size or group below 1, or a group of what has no
            length.

    Attributes:
        dataset: Where the pairs come from.
        batch_size: Pairs in a batch of one process.
        pairs_per_epoch: Pairs in an epoch, over all processes.
    """

    def __init__(
        self,
        dataset: PairDataset | dict,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        prefetch: int = 2,
        group: int = 1,
    ) -> None:
        if min(batch_size, group) < 1:
            raise UsageError(
                'batch_size and group must be 1 or more, got '
                f'{batch_size} and {group}'
            )
        if isinstance(dataset, dict):
            dataset = {'type': 'PairDataset', 'seed': seed, **dataset}
            dataset = DATASETS.build(dataset)
        if group > 1 and not hasattr(dataset, 'length'):
            raise UsageError(
                f'the pairs of a {type(dataset).__name__} have no length to '
                'be grouped by: leave group out'
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.shuffle = shuffle
        self.prefetch = prefetch
        self.group = group
        self.pairs_per_epoch = len(dataset)
        self._position = 0

    def state_dict(self) -> dict:
        """Where to go on: after the last batch that was handed out."""
        state = {
            'position': self._position,
            'pairs_per_epoch': self.pairs_per_epoch,
            'seed': self.seed,
            'shuffle': self.shuffle,
        }
        if self.group > 1:
            # What is sorted together is cut into batches of one size.
            state['group'] = self.group
            state['global_batch'] = self.batch_size * get_world_size()
        return state

    def load_state_dict(self, state: dict) -> None:
        """Goes on where another loader was; the next `iter` starts there.

        Args:
            state: What `state_dict` returned. The batch size and the number
                of processes may be others, unless batches are grouped.

        Raises:
            ValueError: The state is of other data or another order.
        """
        own = self.state_dict()
        for name in {**own, **state}:
            if name != 'position' and state.get(name) != own.get(name):
                raise UsageError(
                    f'the data were saved with {name}={state.get(name)} and '
                    f'now have {own.get(name)}: go on with the same data, '
                    'seed and grouping, or start anew'
                )
        self._position = int(state['position'])

    def __iter__(self) -> Iterator[dict]:
        """Yields batches for ever; starts the workers."""
        step = self.batch_size * get_world_size()
        reading = self.dataset.source.reading
        loader = DataLoader(
            self.dataset,
            batch_sampler=_Places(self, self._position),
            num_workers=self.num_workers,
            collate_fn=getattr(self.dataset, 'collate', collate),
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=start_worker,
            prefetch_factor=self.prefetch if self.num_workers else None,
        )
        for batch in start_batches(loader):
            # Reports are added up: what was wrong with the annotations is
            # counted once in a run.
            if self._position == 0 and get_rank() == 0:
                add_report(batch['report'], reading)
            self._position += step
            yield batch


class _Places:
    """(index, draw) of every pair of every batch, from a position on."""

    def __init__(self, loader: PairLoader, position: int) -> None:
        self.size = loader.pairs_per_epoch
        self.seed = loader.seed
        self.shuffle = loader.shuffle
        self.dataset = loader.dataset
        self.position = position
        self._epoch = -1
        self._order: np.ndarray | None = None
        self.batches = InOrder(loader.batch_size * get_world_size())
        if loader.group > 1:
            self.batches = ByLength(
                self.batches.size, loader.group, self._lengths, self.seed
            )

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rank, processes = get_rank(), get_world_size()
        position = self.position
        while True:
            draws = self.batches.batch(position)[rank::processes]
            yield [self._place(draw) for draw in draws.tolist()]
            position += self.batches.size

    def _lengths(self, draws: np.ndarray) -> list[int]:
        return [self.dataset.length(self._place(d)) for d in draws.tolist()]

    def _place(self, draw: int) -> tuple[int, int]:
        epoch, place = divmod(draw, self.size)
        if not self.shuffle:
            return place, draw
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, epoch))
            order = np.arange(self.size, dtype=np.int64)
            if self.size < 2**31:
                order = order.astype(np.int32)
            rng.shuffle(order)
            self._order, self._epoch = order, epoch
        return int(self._order[place]), draw
