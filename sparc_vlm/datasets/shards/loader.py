"""Endless batches from tar shards, resumable without the skipped shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sparc_vlm.datasets.images import BrokenImage, decode_image
from sparc_vlm.datasets.report import add_report, new_report, note
from sparc_vlm.datasets.shards.files import count_pairs, find_shards
from sparc_vlm.datasets.shards.stream import (
    Position,
    RawSample,
    ShardReader,
)
from sparc_vlm.datasets.tokens import Tokenizer
from sparc_vlm.datasets.transforms import PairTransform, Sample, collate
from sparc_vlm.datasets.workers import start_batches, start_worker
from sparc_vlm.errors import RunError, UsageError
from sparc_vlm.preprocess import Resize
from sparc_vlm.registry import LOADERS, TOKENIZERS

# Pairs that may be unusable in a row before the data are called unreadable.
TRIES = 1000


@LOADERS.register_module()
class ShardLoader:
    """Batches from WebDataset tar files, without end.

    Every worker of every process reads shards of its own. The stream that a
    worker makes is a function of the seed and the worker's number, and the
    workers take turns; a run that was resumed with as many of them gives the
    same batches, bit for bit, after reading at most each worker's current
    shard and buffer again.

    Args:
        shards: '/path/{000..999}.tar', a folder, a glob, a URL, or several.
        tokenizer: A tokenizer or its config.
        batch_size: Pairs in a batch of one process.
        image_size: Side of the pictures in pixels.
        num_workers: Processes that read; no more are started than there are
            shards for.
        seed: Of the order and of every random choice.
        shuffle: Off: shards and pairs come in order.
        buffer_size: Pairs that a worker shuffles at a time; it keeps so many
            undecoded pictures in memory.
        resample: Draw shards with replacement instead of reading each once
            an epoch; for fewer shards than readers, and very many readers.
        resize: 'stretch' or 'crop', see `resize_picture`.
        crop_scale: Shares of the area that random crops keep, None for none.
        flip: Mirror half of the pictures.
        prefetch: Batches that each worker makes ahead.

    Raises:
        ImportError: webdataset is not installed.
        FileNotFoundError: There are no shards.
        ValueError: A size below 1, or fewer shards than processes.

    Attributes:
        batch_size: Pairs in a batch of one process.
        pairs_per_epoch: Pairs in all shards; None where no index says so.
    """

    def __init__(
        self,
        shards: str | Iterable[str],
        tokenizer: Tokenizer | dict,
        batch_size: int,
        image_size: int = 224,
        num_workers: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        buffer_size: int = 1000,
        resample: bool = False,
        resize: Resize = 'stretch',
        crop_scale: tuple[float, float] | None = None,
        flip: bool = False,
        prefetch: int = 2,
    ) -> None:
        if batch_size < 1 or buffer_size < 1:
            raise UsageError(
                'batch_size and buffer_size must be 1 or more, got '
                f'{batch_size} and {buffer_size}'
            )
        if isinstance(tokenizer, dict):
            tokenizer = TOKENIZERS.build(tokenizer)
        self.shards = find_shards(shards)
        self.transform = PairTransform(
            tokenizer, image_size, resize, crop_scale, flip
        )
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.buffer_size = buffer_size
        self.resample = resample
        self.prefetch = prefetch
        self.num_workers = self._fit_workers(num_workers)
        self.pairs_per_epoch = count_pairs(self.shards)
        self._next = 0
        self._positions = [
            Position().state_dict() for _ in range(max(self.num_workers, 1))
        ]

    def _fit_workers(self, wanted: int) -> int:
        processes = get_world_size()
        most = len(self.shards) // processes
        if self.resample or max(wanted, 1) <= most:
            return wanted
        if not most:
            raise UsageError(
                f'{len(self.shards)} shards are not enough for {processes} '
                'processes: write more and smaller ones, or set resample=True'
            )
        print_log(
            f'{wanted} data workers asked for, {most} started: '
            f'{len(self.shards)} shards are too few for more',
            'current',
        )
        return most

    def state_dict(self) -> dict:
        """Where to go on: after the last batch that was handed out."""
        return {
            'next': self._next,
            'positions': [dict(place) for place in self._positions],
            **self._identity(),
        }

    def _identity(self) -> dict:
        return {
            'num_shards': len(self.shards),
            'num_workers': self.num_workers,
            'processes': get_world_size(),
            'seed': self.seed,
            'shuffle': self.shuffle,
            'buffer_size': self.buffer_size,
            'resample': self.resample,
        }

    def load_state_dict(self, state: dict) -> None:
        """Goes on where another loader was; the next `iter` starts there.

        Args:
            state: What `state_dict` of the same process returned.

        Raises:
            ValueError: Something that the order depends on is different.
        """
        for name, value in self._identity().items():
            if state[name] != value:
                raise UsageError(
                    f'the data were saved with {name}={state[name]} and now '
                    f'have {value}: set it back to go on exactly, or start '
                    'anew'
                )
        self._next = state['next']
        self._positions = [dict(place) for place in state['positions']]

    def __iter__(self) -> Iterator[dict]:
        """Yields batches for ever; starts the workers."""
        loader = DataLoader(
            _WorkerBatches(self),
            batch_size=None,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=start_worker,
            prefetch_factor=self.prefetch if self.num_workers else None,
        )
        for batch in start_batches(loader):
            self._positions[self._next] = batch.pop('position')
            self._next = (self._next + 1) % len(self._positions)
            yield batch


class _WorkerBatches(IterableDataset):
    """The batches of whichever worker iterates over it."""

    def __init__(self, loader: ShardLoader) -> None:
        self.first = loader._next
        self.positions = [dict(place) for place in loader._positions]
        self.rank, self.processes = get_rank(), get_world_size()
        self.shards = loader.shards
        self.transform = loader.transform
        self.batch_size = loader.batch_size
        self.seed = loader.seed
        self.order = {
            'seed': loader.seed,
            'buffer_size': loader.buffer_size,
            'shuffle': loader.shuffle,
            'resample': loader.resample,
        }

    def __iter__(self) -> Iterator[dict]:
        info = get_worker_info()
        workers = len(self.positions)
        # torch asks worker 0 first; the one whose turn it is takes its place.
        worker = (self.first + (info.id if info else 0)) % workers
        number = self.rank * workers + worker
        reader = ShardReader(
            self.shards,
            number,
            self.processes * workers,
            position=Position(**self.positions[worker]),
            **self.order,
        )
        samples, bad = [], new_report()
        failed = 0
        for raw in reader:
            rng = np.random.default_rng(
                (self.seed, number, reader.position.total)
            )
            sample = self._sample(raw, rng, bad)
            failed = 0 if sample else failed + 1
            if failed == TRIES:
                raise RunError(
                    f'{TRIES} pairs in a row could not be used, for example '
                    f'{(bad["examples"] or [raw.key])[0]}'
                )
            if sample:
                samples.append(sample)
            if len(samples) == self.batch_size:
                batch = collate(samples)
                add_report(batch['report'], bad)
                add_report(batch['report'], reader.take_report())
                batch['position'] = reader.position.state_dict()
                yield batch
                samples, bad = [], new_report()

    def _sample(
        self, raw: RawSample, rng: np.random.Generator, bad: dict
    ) -> Sample | None:
        report = new_report(pairs=1)
        chosen = self.transform.caption(raw.captions, rng, report, raw.key)
        if chosen is None:
            report['pairs'] = 0
            add_report(bad, report)
            return None
        try:
            picture = decode_image(raw.image, raw.key, self.transform.at_least)
        except BrokenImage as error:
            note(bad, 'broken_images', str(error))
            return None
        view = self.transform.view(picture.size, rng)
        image = self.transform.image(picture, view)
        return Sample(image, chosen.tokens, report)


def _as_it_is(batch: dict) -> dict:
    return batch
