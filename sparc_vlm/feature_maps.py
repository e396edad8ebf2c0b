"""Feature maps of pictures in one file, read where they lie.

Half floats, a map for each picture in its source's order, behind a header
that says what they are of and a fingerprint of each picture as it was
encoded. On the ground floor since data hand them out and encoders know them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.files import TEMPORARY

FORMAT = 1
PAGE = 4096
"""Bytes of the header; fingerprints and maps begin at a multiple of it."""
MARK = 16
"""Bytes of a picture's fingerprint; zeros for one that could not be read."""
UNREADABLE = bytes(MARK)
SUFFIX = '.maps'


class Header(NamedTuple):
    """What a file of maps holds.

    Attributes:
        encoder: Fingerprint of what made them.
        pictures: Fingerprint of the list of pictures.
        count: How many there are.
        shape: (C, rows, columns) of each.
    """

    encoder: str
    pictures: str
    count: int
    shape: tuple[int, int, int]

    @property
    def maps_at(self) -> int:
        """Where the maps begin."""
        return PAGE + -(-self.count * MARK // PAGE) * PAGE

    @property
    def map_bytes(self) -> int:
        """Size of a map."""
        return 2 * int(np.prod(self.shape))

    @property
    def size(self) -> int:
        """Size of the whole file."""
        return self.maps_at + self.count * self.map_bytes

    def to_bytes(self) -> bytes:
        """The first page of the file."""
        text = json.dumps({'format': FORMAT, **self._asdict()})
        return text.encode().ljust(PAGE)


def read_header(path: str | Path) -> Header | None:
    """What a file of maps holds, None if it is none that can be used."""
    try:
        with open(path, 'rb') as file:
            content = json.loads(file.read(PAGE))
        if content.pop('format') != FORMAT:
            return None
        return Header(**content | {'shape': tuple(content['shape'])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _read_marks(file: BinaryIO, count: int) -> list[bytes]:
    file.seek(PAGE)
    data = file.read(count * MARK)
    return [data[at : at + MARK] for at in range(0, len(data), MARK)]


class FeatureMaps:
    """A file of maps to read from, in any number of processes.

    Args:
        path: The file.

    Raises:
        ValueError: It is no whole file of maps.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        header = read_header(path)
        if header is None or self.path.stat().st_size != header.size:
            raise UsageError(
                f'{path} is no whole file of feature maps: remove it, and '
                'training computes it again'
            )
        self.header = header

    def __len__(self) -> int:
        return self.header.count

    @cached_property
    def marks(self) -> list[bytes]:
        """Fingerprint of each picture as it was encoded."""
        with open(self.path, 'rb') as file:
            return _read_marks(file, self.header.count)

    def read(self, row: int) -> Tensor | None:
        """A picture's (C, rows, columns) map, float16.

        Args:
            row: Number of the picture.

        Returns:
            None if the picture could not be read.
        """
        if self.marks[row] == UNREADABLE:
            return None
        return torch.from_numpy(np.array(self._maps[row]))

    @cached_property
    def _maps(self) -> np.memmap:
        header = self.header
        return np.memmap(
            self.path,
            np.float16,
            mode='r',
            offset=header.maps_at,
            shape=(header.count, *header.shape),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapping: another process makes its own."""
        return {k: v for k, v in vars(self).items() if k != '_maps'}


class KnownMaps:
    """Maps of several files, found by what a picture looks like.

    Args:
        files: Where to look.
    """

    def __init__(self, files: Iterable[FeatureMaps]) -> None:
        self._places = {
            mark: (file, row)
            for file in files
            for row, mark in enumerate(file.marks)
            if mark != UNREADABLE
        }

    def __len__(self) -> int:
        return len(self._places)

    def find(self, images: Tensor) -> list[Tensor | None]:
        """The map of each picture, float16, None where there is none.

        Args:
            images: (B, 3, H, W), normalised.
        """
        places = map(self._places.get, fingerprints(images))
        return [place and place[0].read(place[1]) for place in places]


class MapWriter:
    """Writes a file of maps in order; stopped, it goes on where it was.

    The file appears under its name once it is whole.

    Args:
        path: Where it shall appear.
        header: What it is to hold. What was begun of the same is kept.

    Attributes:
        done: Maps that are there.
    """

    def __init__(self, path: str | Path, header: Header) -> None:
        self.path = Path(path)
        self.header = header
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._begun = self.path.with_name(self.path.name + TEMPORARY)
        self.done = 0
        if read_header(self._begun) == header:
            behind = self._begun.stat().st_size - header.maps_at
            self.done = max(behind, 0) // header.map_bytes
            self._file = open(self._begun, 'r+b')  # noqa: SIM115
        else:
            self._file = open(self._begun, 'w+b')  # noqa: SIM115
            self._file.write(header.to_bytes())
        # Whatever a kill left of a map, and no map before its fingerprint.
        self._file.truncate(header.maps_at + self.done * header.map_bytes)

    @property
    def marks(self) -> list[bytes]:
        """Fingerprints of the pictures whose maps are there."""
        return _read_marks(self._file, self.done)

    def restart(self) -> None:
        """Begins anew."""
        self.done = 0
        self._file.truncate(self.header.maps_at)

    def append(self, marks: Sequence[bytes], maps: Tensor) -> None:
        """Writes the next maps.

        Args:
            marks: Fingerprint of each picture, `UNREADABLE` of some.
            maps: (B, C, rows, columns) float; any where unreadable.

        Raises:
            ValueError: A value that is no finite half float.
        """
        half = maps.to('cpu', torch.float16).contiguous()
        if not half.isfinite().all():
            raise UsageError(
                'the trunk gives values that are not finite half floats, so '
                'its features cannot be kept: set keep_features=None'
            )
        header = self.header
        self._file.seek(PAGE + self.done * MARK)
        self._file.write(b''.join(marks))
        self._file.seek(header.maps_at + self.done * header.map_bytes)
        self._file.write(half.numpy().tobytes())
        self._file.flush()
        self.done += len(marks)

    def close(self) -> None:
        """Leaves what is there for another time; a whole file appears."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self.done == self.header.count:
            os.replace(self._begun, self.path)


@contextmanager
def one_writer(folder: str | Path) -> Iterator[None]:
    """Lets one process at a time make files in a folder; others wait.

    Args:
        folder: Made if it is not there.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Freed by the system however a process ends.
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        # Closed alone, it would live on in processes forked meanwhile.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def fingerprints(images: Tensor) -> list[bytes]:
    """A fingerprint of each picture as an encoder is given it.

    Args:
        images: (B, 3, H, W), normalised. Rounded to half floats first, so
            that it does not matter where they were normalised.
    """
    return [
        hashlib.blake2b(one.tobytes(), digest_size=MARK).digest()
        for one in images.detach().to('cpu', torch.float16).numpy()
    ]


def fingerprint(about: Any, state: Mapping[str, Tensor]) -> str:
    """A name for weights and what they are used in.

    Args:
        about: Plain values.
        state: Weights by key.
    """
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for key in sorted(state):
        digest.update(f'{key} {tuple(state[key].shape)}'.encode())
        values = state[key].detach().cpu().contiguous().flatten()
        digest.update(values.view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
