"""Tables of path and caption, class folders, and lists of labels."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from sparc_vlm.datasets.readers.listed import Images, ListedPairs
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.store import ImageStore
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

    Rows of one path are captions of one picture.

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
        rows = csv.reader(io.StringIO(text, newline=''), delimiter=separator)
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
    raise UsageError(
        f'{path} has the columns {", ".join(columns)}: none is called '
        f'{wanted or " or ".join(usual)}'
    )


@DATASETS.register_module()
class ClassFolders(ListedPairs):
    """Pictures in one folder a class; the caption is the class's name.

    Args:
        root: Folder, zip or tar with the class folders in it.
        template: Wording of the caption.
        names: From the name of a folder to words, where the folders are not
            called by words (ImageNet's n01440764): a dict, or a JSON file of
            one.

    Raises:
        FileNotFoundError: There is nothing at `root`.
        ValueError: There is no picture in a folder.
    """

    def __init__(
        self,
        root: str | Path,
        template: str = '{}',
        names: dict[str, str] | str | None = None,
    ) -> None:
        if isinstance(names, str):
            names = json.loads(Path(names).read_text('utf-8'))
        words = names or {}
        paths = [n for n in ImageStore(root).names() if '/' in n]
        if not paths:
            raise UsageError(
                f'{root} has no pictures in class folders: expected '
                'class name/picture.jpg'
            )
        entries = []
        for path in paths:
            folder = path.split('/')[-2]
            name = words.get(folder, folder.replace('_', ' '))
            entries.append((path, [template.format(name)]))
        super().__init__(root, entries, new_report())


@DATASETS.register_module()
class LabelLists(ListedPairs):
    """Pictures with a list of labels; the caption is all of them in a row.

    As the paper does with JFT, whose pictures have several labels each.

    Args:
        path: JSON of {path: [labels]}, JSON lines of {"path", "labels"}, or
            a text table: path, tab, labels with tabs or commas between them.
        images: Folder, zip or tar of the pictures; the file's own folder by
            default.
        joint: What stands between the labels of a caption.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The file has no labels in it.
    """

    def __init__(
        self,
        path: str | Path,
        images: Images | None = None,
        joint: str = ' ',
    ) -> None:
        reading = new_report()
        if not Path(path).is_file():
            raise MissingFileError(f'no labels at {path}: no such file')
        text = read_text(path, reading)
        entries = []
        for name, labels in _labels(text, path, reading):
            words = [' '.join(label.split()) for label in labels]
            entries.append((name, [joint.join(filter(None, words))]))
        if not entries:
            raise UsageError(f'{path} has no line of path, tab, labels')
        super().__init__(images or Path(path).parent, entries, reading)


def _labels(
    text: str, path: str | Path, reading: Report
) -> Iterator[tuple[str, list[str]]]:
    """(path, labels) of each line or entry; what is neither is counted."""
    if str(path).endswith('.json'):
        content = json.loads(text)
        rows = content.items() if isinstance(content, dict) else []
    else:
        rows = enumerate(text.splitlines(), 1)
    for place, row in rows:
        name, labels = place, row
        if isinstance(place, int):
            if not row.strip():
                continue
            name, labels = _parse_line(row)
        labels = [labels] if isinstance(labels, str) else labels
        good = isinstance(labels, list) and all(
            isinstance(label, str) for label in labels
        )
        if name and good:
            yield name, labels
        else:
            where = f'{path}, {place}'
            note(reading, 'skipped_rows', f'{where}: not path and labels')


def _parse_line(line: str) -> tuple[str | None, list[str] | None]:
    """Path and labels of a JSON or tab-separated line."""
    if line.lstrip().startswith('{'):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            return None, None
        return row.get('path'), row.get('labels')
    name, tab, rest = line.partition('\t')
    if not tab:
        return None, None
    labels = rest.split('\t' if '\t' in rest else ',')
    return name.strip(), labels
