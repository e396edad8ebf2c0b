"""Endless raw samples of one reader's share of the shards.

A reader's samples are numbered by (epoch, shard, sample). They are gathered
in blocks of a buffer's size, and each block is shuffled by itself, so that a
reader can go on in the middle of a run: it opens the shard in which the
current block began, reads that block again, and no shard before it.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparc_vlm.datasets.report import Report, add_report, new_report, note
from sparc_vlm.datasets.shards.files import need_webdataset
from sparc_vlm.datasets.store import IMAGE_SUFFIXES
from sparc_vlm.datasets.text import PackedStrings, decode_text
from sparc_vlm.errors import RunError

# Bytes of zeros at the end of a tar file.
_END = 1024
# Shards that captions come from at least, where there are as many.
SPREAD = 64
CAPTION_FIELDS = ('captions', 'caption', 'text')


class RawSample(NamedTuple):
    """What a shard holds of one pair.

    Attributes:
        key: Shard and name in it.
        image: Bytes of the picture's file.
        captions: Its captions.
    """

    key: str
    image: bytes
    captions: list[str]


@dataclass(slots=True)
class Position:
    """Where a reader is.

    Attributes:
        epoch: In which the current block began.
        shard: Which of the reader's shards of that epoch it began in.
        sample: How many samples of that shard came before it.
        block: Number of the block.
        taken: Samples of the block that were handed on.
        total: Samples handed on since the start.
    """

    epoch: int = 0
    shard: int = 0
    sample: int = 0
    block: int = 0
    taken: int = 0
    total: int = 0

    def state_dict(self) -> dict[str, int]:
        """As plain numbers."""
        return asdict(self)


class ShardReader:
    """Endless shuffled samples of one of several readers.

    Args:
        shards: All shards there are.
        reader: Number of this reader.
        readers: Number of readers that share the shards.
        seed: Of all orders.
        buffer_size: Samples in a block.
        shuffle: Off: shards and samples come in order.
        resample: Draw shards with replacement, as each reader likes, instead
            of dealing every shard out once an epoch.
        position: Where to start.
    """

    def __init__(
        self,
        shards: PackedStrings,
        reader: int,
        readers: int,
        seed: int,
        buffer_size: int,
        shuffle: bool,
        resample: bool,
        position: Position,
    ) -> None:
        self.shards = shards
        self.reader = reader
        self.readers = readers
        self.seed = seed
        self.buffer_size = buffer_size
        self.shuffle = shuffle
        self.resample = resample
        self.position = position
        self.report = new_report()

    def __iter__(self) -> Iterator[RawSample]:
        """Yields samples; `position` and `report` keep up with them."""
        place = self.position
        samples = self._in_order(place.epoch, place.shard, place.sample)
        start = (place.epoch, place.shard, place.sample)
        while True:
            block = list(itertools.islice(samples, self.buffer_size))
            order = np.arange(len(block))
            if self.shuffle:
                key = (self.seed, self.reader, place.block)
                np.random.default_rng(key).shuffle(order)
            place.epoch, place.shard, place.sample = start
            for which in order[place.taken :].tolist():
                place.taken += 1
                place.total += 1
                yield block[which][0]
            place.block += 1
            place.taken = 0
            start = block[-1][1]

    def take_report(self) -> Report:
        """What was counted since the last call."""
        taken = dict(self.report)
        # The shard that is open goes on counting in the same report.
        self.report.update(new_report())
        return taken

    def _in_order(
        self, epoch: int, shard: int, skip: int
    ) -> Iterator[tuple[RawSample, tuple[int, int, int]]]:
        """Samples and the place after each, from a place on, unshuffled."""
        while True:
            found = shard > 0 or skip > 0
            order = self._order(epoch)
            for number in range(shard, len(order)):
                url = self.shards[order[number]]
                with closing(read_shard(url, self.report)) as samples:
                    for place, sample in enumerate(samples):
                        if place >= skip:
                            found = True
                            yield sample, (epoch, number, place + 1)
                skip = 0
            if not found:
                problem = (self.report['examples'] or ['they are empty'])[0]
                raise RunError(
                    f'none of {len(order)} shards has a pair in it: {problem}'
                )
            epoch, shard = epoch + 1, 0

    def _order(self, epoch: int) -> list[int]:
        """Which shards this reader reads in an epoch."""
        count = len(self.shards)
        if self.resample:
            rng = np.random.default_rng((self.seed, epoch, self.reader))
            share = max(count // self.readers, 1)
            return rng.integers(count, size=share).tolist()
        order = np.arange(count)
        if self.shuffle:
            np.random.default_rng((self.seed, epoch)).shuffle(order)
        return order[self.reader :: self.readers].tolist()


def shard_captions(shards: PackedStrings, most: int) -> Iterator[str]:
    """Captions of shards that are spread evenly over all there are.

    Goes from shard to shard in an order that is spread evenly wherever it is
    left off, and takes a share of each, so that no more are opened than are
    needed and one large shard does not speak for all.

    Args:
        shards: What `find_shards` returned.
        most: How many are wanted at the most.
    """
    bits = max(len(shards) - 1, 1).bit_length()
    order = sorted(
        range(len(shards)), key=lambda number: f'{number:0{bits}b}'[::-1]
    )
    share = -(-most // max(min(len(shards), SPREAD), 1))
    left = most
    for number in order:
        if left <= 0:
            return
        with closing(read_shard(shards[number], new_report())) as samples:
            captions = (text for sample in samples for text in sample.captions)
            for text in itertools.islice(captions, min(share, left)):
                left -= 1
                yield text


def read_shard(url: str, report: Report) -> Iterator[RawSample]:
    """Samples of a shard in order.

    Only the picture and its text are looked at; other fields of a sample,
    pickled ones too, are left as bytes and dropped.

    Args:
        url: Of the tar file.
        report: Counts a file that is broken and samples that are.
    """
    wds = need_webdataset()
    # One broken file can be complained about by several layers.
    broken: list[Exception] = []

    def stop(error: Exception) -> bool:
        if not broken:
            reason = getattr(error, 'strerror', None) or error.args[0]
            note(report, 'broken_shards', f'{url}: {reason}')
        broken.append(error)
        return False

    opened = wds.tariterators.url_opener([{'url': url}], handler=stop)
    files = wds.tariterators.tar_file_expander(opened, handler=stop)
    name = url.rpartition('/')[2]
    for group in wds.tariterators.group_by_keys(files, handler=stop):
        key = f'{name}/{group["__key__"]}'
        counted = new_report()
        sample = _read_sample(key, group, counted)
        add_report(report, counted)
        if sample is not None:
            yield sample
    if not broken and _is_cut_short(url):
        note(report, 'broken_shards', f'{url}: it ends too early')


def _is_cut_short(url: str) -> bool:
    """Whether a local tar file lacks the zeros that end one.

    A file cut between two members reads like a whole one otherwise.
    """
    path = Path(url.removeprefix('file:'))
    if path.suffix != '.tar' or not path.is_file():
        return False
    with path.open('rb') as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - _END, 0))
        return file.read() != bytes(_END)


def _read_sample(key: str, group: dict, report: Report) -> RawSample | None:
    image = next(
        (
            data
            for field, data in group.items()
            if '.' + field.rpartition('.')[2] in IMAGE_SUFFIXES
        ),
        None,
    )
    if image is None:
        note(report, 'broken_images', f'{key}: no picture')
        return None
    if 'json' in group:
        captions = _json_captions(group['json'], key, report)
        if captions:
            return RawSample(key, image, captions)
    text = group.get('txt', group.get('caption', b''))
    return RawSample(key, image, [decode_text(text, report, key).strip()])


def _json_captions(data: bytes, key: str, report: Report) -> list[str]:
    """The captions in a sample's JSON, whatever they are called."""
    try:
        content = json.loads(decode_text(data, report, key))
    except json.JSONDecodeError:
        note(report, 'skipped_rows', f'{key}: its json is none')
        return []
    for field in CAPTION_FIELDS:
        value = content.get(field) if isinstance(content, dict) else None
        if isinstance(value, str):
            return [value]
        if isinstance(value, list):
            return [text for text in value if isinstance(text, str)]
    return []
