"""The loaders of a training loop, several of them taken in turn.

mmengine's hooks ask the training loop for a `dataloader` with a length and a
`dataset`; `TrainLoaders` is that for endless loaders, and keeps their
positions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from mmengine import dist

from sparc_vlm.errors import RunError, UsageError
from sparc_vlm.registry import LOADERS


class TrainLoaders:
    """One batch of each loader a step.

    Args:
        loaders: A loader or its config, or a list of either.
        steps: Steps of the whole run, which is the `len` that hooks see.
        rounds: Batches of each loader that a step takes.

    Raises:
        ValueError: No loader was given.
    """

    dataset = None

    def __init__(self, loaders: Any, steps: int, rounds: int = 1) -> None:
        if not isinstance(loaders, (list, tuple)):
            loaders = [loaders]
        if not loaders:
            raise UsageError('train_dataloader is an empty list: name one')
        self.loaders = [
            LOADERS.build(loader) if isinstance(loader, dict) else loader
            for loader in loaders
        ]
        self.steps = steps
        self.rounds = rounds
        self.wait = 0.0
        self._iterators: list[Iterator] = []

    def __len__(self) -> int:
        return self.steps

    @property
    def names(self) -> list[str]:
        """What each loader is called in the log."""
        return [
            getattr(loader, 'name', None) or f'data{place}'
            for place, loader in enumerate(self.loaders)
        ]

    @property
    def batch_size(self) -> int:
        """Pairs that one process reads a step, of all loaders together."""
        return sum(loader.batch_size for loader in self.loaders)

    def draw(self) -> list[Any]:
        """The next batch of each loader; the seconds are added to `wait`.

        Workers start at the first call, after a position was loaded.

        Raises:
            RuntimeError: A loader came to its end.
        """
        start = time.perf_counter()
        if not self._iterators:
            self._iterators = [iter(loader) for loader in self.loaders]
        try:
            batches = [next(iterator) for iterator in self._iterators]
        except StopIteration:
            raise RunError(
                'a training loader came to its end: PretrainLoop needs '
                'endless ones (the registered LOADERS are)'
            ) from None
        self.wait += time.perf_counter() - start
        return batches

    def epochs_done(self, steps: int) -> list[int | None]:
        """How often each loader's data were gone through after some steps.

        None for a loader that does not know how many pairs it has.
        """
        batches = steps * self.rounds * dist.get_world_size()
        return [
            batches * loader.batch_size // loader.pairs_per_epoch
            if loader.pairs_per_epoch
            else None
            for loader in self.loaders
        ]

    def state_dict(self) -> list[Any]:
        """Position of each loader, of the batches handed out."""
        return [loader.state_dict() for loader in self.loaders]

    def load_state_dict(self, states: list[Any]) -> None:
        """Goes on where `state_dict` was taken.

        Raises:
            ValueError: The checkpoint knows another number of loaders.
        """
        if len(states) != len(self.loaders):
            raise UsageError(
                f'the checkpoint was trained on {len(states)} datasets and '
                f'the config names {len(self.loaders)}: resume with the same '
                'train_dataloader, or start from its weights with load_from'
            )
        self._iterators = []
        for loader, state in zip(self.loaders, states, strict=True):
            loader.load_state_dict(state)

    def close(self) -> None:
        """Lets go of the iterators, and so of their workers."""
        self._iterators = []
