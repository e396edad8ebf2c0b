"""Tables of path and caption."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from sparc_vlm.datasets.readers.listed import Images, ListedPairs
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.text import read_text
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import DATASETS

PATH_COLUMNS = (
    'path filepath file_path image image_path filename file_name file img'
).split()
CAPTION_COLUMNS = 'caption title text sentence description comment'.split()
SEPARATORS = ',\t;|'


@DATASETS.register_module()
class CsvCaptions(ListedPairs):
    """Pictures and captions of a CSV or TSV file with a header.

    Rows of one path are captions of one picture. With tabs each line is a
    row, whatever quotation marks are in it; with other separators a field in
    quotation marks may hold line breaks.

    Args:
        path: The table.
        images: Folder, zip or tar of the pictures; the table's own folder
            by default.
        path_column: Column of the picture's name; by default one that is
            called path, image, filename or the like.
        caption_column: Likewise caption, title, text or the like.
        separator: Between the columns; by default the one of comma, tab,
            semicolon and bar that the header has most of.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A column is not there.
    """

    def __init__(
        self,
        path: str | Path,
        images: Images | None = None,
        path_column: str | None = None,
        caption_column: str | None = None,
        separator: str | None = None,
    ) -> None:
        reading = new_report()
        if not Path(path).is_file():
            raise MissingFileError(f'no table at {path}: no such file')
        text = read_text(path, reading).replace('\0', '')
        header = text.partition('\n')[0]
        separator = separator or max(SEPARATORS, key=header.count)
        if separator == '\t':
            rows = _TabRows(text)
        else:
            lines = io.StringIO(text, newline='')
            rows = csv.reader(lines, delimiter=separator)
        columns = [name.strip() for name in next(rows, [])]
        at = _column(columns, path_column, PATH_COLUMNS, path)
        said = _column(columns, caption_column, CAPTION_COLUMNS, path)
        captions: dict[str, list[str]] = {}
        for row in _safe_rows(rows, path, reading):
            if len(row) <= max(at, said) or not row[at].strip():
                where = f'{path}, line {rows.line_num}'
                note(reading, 'skipped_rows', f'{where}: a column is missing')
                continue
            caption = ' '.join(row[said].split())
            captions.setdefault(row[at].strip(), []).append(caption)
        images = images or Path(path).parent
        super().__init__(images, captions.items(), reading)


class _TabRows:
    """Rows between tabs, each of one line; `line_num` as of `csv.reader`.

    Lists of captions from the web have quotation marks like other characters,
    and one that begins with a mark would swallow all lines to the next. Marks
    that some programs put around a field are taken off.
    """

    def __init__(self, text: str) -> None:
        self._lines = io.StringIO(text, newline='')
        self.line_num = 0

    def __iter__(self) -> _TabRows:
        return self

    def __next__(self) -> list[str]:
        line = next(self._lines)
        self.line_num += 1
        try:
            return next(csv.reader([line], delimiter='\t', strict=True))
        except csv.Error:
            plain = csv.QUOTE_NONE
            return next(csv.reader([line], delimiter='\t', quoting=plain))


def _safe_rows(
    rows: Iterator[list[str]], path: str | Path, reading: Report
) -> Iterator[list[str]]:
    """Rows of a table; those that cannot be parsed are counted."""
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            note(reading, 'skipped_rows', f'{path}: {error}')
            continue
        if row:
            yield row


def _column(
    columns: list[str], wanted: str | None, usual: list[str], path: str | Path
) -> int:
    """Index of a column, by its name or by the usual names."""
    lowered = [name.lower() for name in columns]
    for name in [wanted.lower()] if wanted else usual:
        if name in lowered:
            return lowered.index(name)
    if not columns:
        raise UsageError(f'{path} is empty: its first line names the columns')
    raise UsageError(
        f'{path} has the columns {", ".join(columns)}: none is called '
        f'{wanted or " or ".join(usual)}'
    )
