"""Files inside of a zip or tar, for whatever reads through mmengine.

MMDetection's transforms read `archive://pictures.zip/a.jpg` as they read any
path, so that pictures need not be unpacked.
"""

from __future__ import annotations

from pathlib import Path

from mmengine.fileio import BaseStorageBackend, register_backend

from sparc_vlm.datasets.store import ImageStore
from sparc_vlm.errors import MissingFileError

PREFIX = 'archive'


class ArchiveBackend(BaseStorageBackend):
    """Reads from archives that stay open; mmengine keeps one a process."""

    def __init__(self) -> None:
        self._stores: dict[Path, ImageStore] = {}

    def get(self, filepath: str | Path) -> bytes:
        """Bytes of a file.

        Args:
            filepath: 'archive://', the archive, '/', the name inside of it.

        Raises:
            FileNotFoundError: No part of it is an archive.
            BrokenImage: The archive has no such file, or it is damaged.
        """
        path = Path(str(filepath).removeprefix(f'{PREFIX}://'))
        for outer in path.parents:
            if outer not in self._stores and outer.is_file():
                self._stores[outer] = ImageStore(outer)
            if outer in self._stores:
                return self._stores[outer].read(str(path.relative_to(outer)))
        raise MissingFileError(f'{path}: no part of it is a zip or tar file')

    def get_text(self, filepath: str | Path) -> str:
        """Text of a file in UTF-8, see `get`."""
        return self.get(filepath).decode('utf-8')


register_backend(PREFIX, ArchiveBackend, prefixes=PREFIX, force=True)
