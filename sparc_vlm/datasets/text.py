"""Text files in whatever encoding they come, and strings that stay small."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from sparc_vlm.datasets.report import Report, note


def read_text(path: str | Path, report: Report) -> str:
    """Text of a file, decoded line by line.

    Args:
        path: UTF-8, with or without a byte order mark, or UTF-16 with one.
            A line that is neither is taken for Windows-1252 or Latin-1.
        report: Counts such lines as bad encodings.
    """
    data = Path(path).read_bytes()
    if data[:2] in (b'\xff\xfe', b'\xfe\xff'):
        return data.decode('utf-16', errors='replace')
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError:
        lines = data.removeprefix(b'\xef\xbb\xbf').splitlines(keepends=True)
        return ''.join(
            decode_text(line, report, f'{path}, line {number}')
            for number, line in enumerate(lines, 1)
        )


def decode_text(data: bytes, report: Report, where: str) -> str:
    """Decodes text, as UTF-8 if it is.

    Args:
        data: The bytes.
        report: Counts it as a bad encoding if it is not UTF-8.
        where: Where it comes from, for the report.
    """
    try:
        return data.decode('utf-8')
    except UnicodeDecodeError:
        note(report, 'bad_encodings', f'{where}: not UTF-8')
    try:
        return data.decode('cp1252')
    except UnicodeDecodeError:
        return data.decode('latin-1')


class PackedStrings:
    """A long list of strings as one block of bytes.

    Python's own list would be copied, page by page, into every worker
    process that looks at it, since looking counts references.

    Args:
        strings: Gone through once.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        ends, block = [0], bytearray()
        for text in strings:
            block += text.encode('utf-8', 'surrogatepass')
            ends.append(len(block))
        self._ends = np.array(ends, dtype=np.int64)
        self._block = np.frombuffer(bytes(block), dtype=np.uint8)

    def __len__(self) -> int:
        """Number of strings."""
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        """One string."""
        if not 0 <= index < len(self):
            raise IndexError(f'string {index} of {len(self)}')
        start, end = self._ends[index : index + 2]
        data = self._block[start:end].tobytes()
        return data.decode('utf-8', 'surrogatepass')

    def __iter__(self) -> Iterator[str]:
        """All strings in order."""
        return (self[index] for index in range(len(self)))


class PackedLists:
    """A long list of short lists of strings, packed likewise.

    Args:
        lists: Gone through once.
    """

    def __init__(self, lists: Iterable[Iterable[str]]) -> None:
        ends: list[int] = [0]

        def flat() -> Iterator[str]:
            for strings in lists:
                count = 0
                for text in strings:
                    count += 1
                    yield text
                ends.append(ends[-1] + count)

        self._strings = PackedStrings(flat())
        self._ends = np.array(ends, dtype=np.int64)

    def __len__(self) -> int:
        """Number of lists."""
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> list[str]:
        """One list."""
        start, end = self._ends[index : index + 2].tolist()
        return [self._strings[place] for place in range(start, end)]
