"""Files that are either whole or not there.

Written beside their place under another name, pushed to the disk, then
renamed: whoever reads finds the old file or the new one, never half of one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from sparc_vlm.errors import UsageError

TEMPORARY = '.unfinished'


class _Recorder:
    """An unbuffered file that writes all of it and remembers why it failed.

    torch reports any failed write as a RuntimeError about its own
    bookkeeping; the file knows that the disk is full.
    """

    def __init__(self, file: RawIOBase) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes `data` to the last byte."""
        rest = memoryview(data).cast('B')
        size = len(rest)
        try:
            while len(rest):
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.error = self.error or error
            raise
        return size

    def flush(self) -> None:
        """Nothing is held back, so there is nothing to do."""


@contextmanager
def atomic_file(path: str | Path) -> Iterator[_Recorder]:
    """Opens a file for writing that appears only once it is whole.

    Args:
        path: Where it shall appear; its folder is made if need be.

    Raises:
        OSError: The disk is full, or the folder cannot be written to. What
            stood at `path` before still stands there, and nothing else is
            left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.{os.getpid()}{TEMPORARY}')
    try:
        # Unbuffered: a write that fails must fail here, not when closing.
        with open(temporary, 'wb', buffering=0) as raw:
            recorder = _Recorder(raw)
            try:
                yield recorder
            except Exception as error:
                raise (recorder.error or error) from None
            os.fsync(raw.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def write_changed(path: str | Path, data: bytes) -> None:
    """Writes a file that is either whole or not there, if it is not the same.

    Raises:
        OSError: As `atomic_file`.
    """
    path = Path(path)
    if not path.is_file() or path.read_bytes() != data:
        with atomic_file(path) as file:
            file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file that is either whole or not there.

    Raises:
        OSError: As `atomic_file`.
    """
    with atomic_file(path) as file:
        file.write(text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Writes plain values as JSON; whole or not there.

    Raises:
        OSError: As `atomic_file`.
    """
    write_text(path, json.dumps(value, indent=1) + '\n')


def read_written(path: str | Path) -> Any:
    """Reads back JSON that was written here.

    Args:
        path: The file.

    Raises:
        UsageError: It has been damaged since.
    """
    try:
        return json.loads(Path(path).read_text('utf-8'))
    except ValueError as error:
        raise UsageError(
            f'{path} is damaged ({error}): delete it, or name another folder'
        ) from None


def clear_unfinished(folder: str | Path) -> list[Path]:
    """Removes what a killed process left half written in a folder.

    Returns:
        The files removed.
    """
    leftovers = list(Path(folder).glob(f'*{TEMPORARY}'))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


def check_writable(folder: str | Path) -> None:
    """Makes a folder and tries whether files can be written to it.

    Raises:
        UsageError: They cannot.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f'{folder} cannot be written to ({reason(error)}): name another '
            'folder'
        ) from error


def reason(error: OSError) -> str:
    """Why the system refused, in words ('No space left on device')."""
    return error.strerror or str(error)


def _sync_folder(folder: Path) -> None:
    """Pushes a folder's own entries to the disk, where that is possible."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
