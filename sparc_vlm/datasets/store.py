"""Pictures by name from a folder, a zip or a tar file.

An archive's table of contents is read once, in the process that opens it;
workers read the parts of the file they need by position, so that they share
nothing that could get in another's way.
"""

from __future__ import annotations

import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from sparc_vlm.datasets.images import BrokenImage, decode_image
from sparc_vlm.errors import MissingFileError, UsageError

IMAGE_SUFFIXES = frozenset(
    '.jpg .jpeg .png .webp .bmp .gif .tif .tiff .ppm .pgm'.split()
)
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
# Of a zip member's local header: fixed part, lengths of name and extra.
_HEADER, _LENGTHS = 30, slice(26, 30)


class ImageStore:
    """Random access to the pictures of a folder, a zip or a tar file.

    Names are looked up as they are; then without their leading folders, or
    with leading folders that only the store has, as data sets are unpacked
    in many ways. Where several pictures fit equally well, none is taken.

    Args:
        path: The folder or file, or several of them, searched in order.

    Raises:
        FileNotFoundError: There is nothing at a path.
        ValueError: A file that is neither a zip nor a plain tar.
    """

    def __init__(self, path: str | Path | Iterable[str | Path]) -> None:
        paths = [path] if isinstance(path, str | Path) else list(path)
        self._parts = [_open(Path(part)) for part in paths]
        self.path = ', '.join(map(str, paths))

    def read(self, name: str) -> bytes:
        """Bytes of a file.

        Args:
            name: With '/' between folders.

        Raises:
            BrokenImage: It is not there, or cannot be read.
        """
        fitting = self._find(name)
        if len(fitting) == 1:
            part, found = fitting[0]
            return part.read(found)
        if fitting:
            which = ', '.join(found for _, found in fitting[:2])
            raise BrokenImage(
                name, f'{len(fitting)} files in {self.path} fit it: {which}'
            )
        raise BrokenImage(name, f'not found in {self.path}')

    def image(self, name: str, at_least: int | None = None) -> Image.Image:
        """A picture in RGB.

        Args:
            name: With '/' between folders.
            at_least: A side in pixels that is enough, None for all of it.

        Raises:
            BrokenImage: It is not there, or cannot be read.
        """
        return decode_image(self.read(name), name, at_least)

    def names(self) -> list[str]:
        """Names of all pictures, sorted."""
        return sorted(
            name
            for part in self._parts
            for name in part.names()
            if is_image(name)
        )

    def __contains__(self, name: str) -> bool:
        """Whether there is one file of that name."""
        return len(self._find(name)) == 1

    def _find(self, name: str) -> list[tuple[_Folder | _Archive, str]]:
        """All files that fit a name best, of which it must be the only one.

        The file of that very name, in the first place that has it; else those
        with fewer leading folders; else those with more.
        """
        for part in self._parts:
            if part.has(name):
                return [(part, name)]
        shorter = [
            (part, found)
            for part in self._parts
            if (found := part.find_shorter(name)) is not None
        ]
        # The more of the name's folders a file shares, the better it fits.
        most = max((len(found) for _, found in shorter), default=0)
        return [
            (part, found) for part, found in shorter if len(found) == most
        ] or [
            (part, found)
            for part in self._parts
            for found in part.find_longer(name)
        ]


def is_image(name: str) -> bool:
    """Whether a file name has the ending of a picture.

    Files that start with a dot, and the copies of metadata that some systems
    put into archives, are none.
    """
    path = PurePosixPath(name)
    hidden = path.name.startswith('.') or '__MACOSX' in path.parts
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def _open(path: Path) -> _Folder | _Archive:
    if path.is_dir():
        return _Folder(path)
    if not path.exists():
        raise MissingFileError(f'no images at {path}: no such file or folder')
    if zipfile.is_zipfile(path):
        return _Archive(path, _list_zip(path))
    try:
        return _Archive(path, _list_tar(path))
    except tarfile.TarError as error:
        raise UsageError(
            f'{path} is neither a folder, a zip nor an uncompressed tar file; '
            'unpack it'
        ) from error


def _without_folders(name: str) -> Iterator[str]:
    """A name without its first folder, its first two, ..."""
    parts = name.strip('/').split('/')
    for start in range(len(parts)):
        if (shorter := '/'.join(parts[start:])) != name:
            yield shorter


class _Names:
    """Finds names that have further leading folders."""

    def __init__(self, names: Iterable[str]) -> None:
        self.rows: dict[str, int] = {}
        self._by_base: dict[str, list[str]] = {}
        for row, name in enumerate(names):
            self.rows[name] = row
            base = name.rpartition('/')[2]
            self._by_base.setdefault(base, []).append(name)

    def find_longer(self, name: str) -> list[str]:
        """The stored names that end with all folders of a name."""
        name = name.strip('/')
        found = self._by_base.get(name.rpartition('/')[2], [])
        return [other for other in found if other.endswith(f'/{name}')]


class _Folder:
    """Files below a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._walked: _Names | None = None

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def find_shorter(self, name: str) -> str | None:
        return next(filter(self.has, _without_folders(name)), None)

    def find_longer(self, name: str) -> list[str]:
        return self._all().find_longer(name)

    def names(self) -> list[str]:
        return list(self._all().rows)

    def _all(self) -> _Names:
        if self._walked is None:
            self._walked = _Names(
                (Path(root).relative_to(self.path) / file).as_posix()
                for root, _, files in os.walk(self.path, followlinks=True)
                for file in files
            )
        return self._walked

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise BrokenImage(name, error.strerror or str(error)) from error


class _Archive:
    """Members of a zip or tar file, read by position.

    Args:
        path: The file.
        members: (name, offset, size, method, crc) of each; `offset` is that
            of the data in a tar, of the local header in a zip.
    """

    def __init__(
        self, path: Path, members: list[tuple[str, int, int, int, int]]
    ) -> None:
        self.path = path
        self._names = _Names(member[0] for member in members)
        self._places = np.array(
            [member[1:] for member in members], dtype=np.int64
        ).reshape(-1, 4)
        self._file: int | None = None

    def __getstate__(self) -> dict:
        # An open file means nothing in another process.
        return {**self.__dict__, '_file': None}

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def has(self, name: str) -> bool:
        return name in self._names.rows

    def find_shorter(self, name: str) -> str | None:
        return next(filter(self.has, _without_folders(name)), None)

    def find_longer(self, name: str) -> list[str]:
        return self._names.find_longer(name)

    def names(self) -> list[str]:
        return list(self._names.rows)

    def read(self, name: str) -> bytes:
        where = f'{self.path}/{name}'
        row = self._places[self._names.rows[name]].tolist()
        offset, size, method, crc = row
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_RDONLY)
            if method >= 0:
                header = os.pread(self._file, _HEADER, offset)
                offset += _HEADER + sum(struct.unpack('<HH', header[_LENGTHS]))
            # Reads at a position leave the file's own alone: a forked worker
            # shares it.
            data = os.pread(self._file, size, offset)
            if len(data) < size:
                raise BrokenImage(where, 'the archive ends too early')
            if method == _DEFLATED:
                data = zlib.decompress(data, -zlib.MAX_WBITS)
        except (OSError, struct.error, zlib.error) as error:
            raise BrokenImage(where, str(error)) from error
        if method not in (-1, _STORED, _DEFLATED):
            raise BrokenImage(where, 'packed or encrypted in an unknown way')
        if method >= 0 and zlib.crc32(data) != crc:
            raise BrokenImage(where, 'its checksum is wrong')
        return data


def _list_zip(path: Path) -> list[tuple[str, int, int, int, int]]:
    encrypted, unknown = 1, 99
    with zipfile.ZipFile(path) as archive:
        return [
            (
                info.filename,
                info.header_offset,
                info.compress_size,
                unknown if info.flag_bits & encrypted else info.compress_type,
                info.CRC,
            )
            for info in archive.infolist()
            if not info.is_dir()
        ]


def _list_tar(path: Path) -> list[tuple[str, int, int, int, int]]:
    with tarfile.open(path, 'r:') as archive:
        return [
            (info.name.removeprefix('./'), info.offset_data, info.size, -1, 0)
            for info in archive
            if info.isreg()
        ]
