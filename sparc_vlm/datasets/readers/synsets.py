"""ImageNet's classes: a WordNet id (n01440764) and the words for each.

Read from a file of the user's own, since lists of names differ and which one
was taken changes the accuracy.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sparc_vlm.datasets.report import Report
from sparc_vlm.datasets.text import read_text
from sparc_vlm.errors import MissingFileError, UsageError

WNID = re.compile(r'n\d{8}')
USUAL = (
    'classnames.txt',
    'imagenet_class_index.json',
    'LOC_synset_mapping.txt',
    'synset_words.txt',
    'meta.mat',
    'data/meta.mat',
    'ILSVRC2012_devkit_t12/data/meta.mat',
)


class Synsets:
    """Names of classes by WordNet id.

    Args:
        names: From id to name.
        path: The file that they come from.
        numbers: From the id of the development kit (1 to 1000, in an order
            of its own) to WordNet id, where the file has it.
    """

    def __init__(
        self,
        names: dict[str, str],
        path: Path,
        numbers: dict[int, str] | None = None,
    ) -> None:
        self.names = names
        self.path = path
        self.numbers = numbers
        self._order = sorted(names)

    def name(self, wnid: str) -> str:
        """Name of a class.

        Raises:
            ValueError: The file has none.
        """
        if wnid not in self.names:
            raise UsageError(
                f'{self.path} has no name for {wnid}: take a file that names '
                'all classes of the data'
            )
        return self.names[wnid]

    def at(self, index: int) -> str:
        """WordNet id of the class of that number, from 0, in sorted order.

        Raises:
            ValueError: The file has too few classes for it, or so many that
                they cannot be ImageNet's.
        """
        if len(self._order) > 1000 or not 0 <= index < len(self._order):
            raise UsageError(
                f'{self.path} names {len(self._order)} classes, so that class '
                f"{index} cannot be told: take a file of ImageNet's 1000"
            )
        return self._order[index]


def find_synsets(
    names: str | Path | None, root: Path, reading: Report
) -> Synsets:
    """Reads the names of ImageNet's classes.

    Args:
        names: The file: a JSON object of {"0": ["n01440764", "tench"]} or of
            {"n01440764": "tench"}; a text file with an id and its names,
            separated by commas, a line; or the development kit's meta.mat.
            Of several names the first is taken. None looks for a file of a
            usual name.
        root: Looks there, and in the folder above.
        reading: Counts lines in a wrong encoding.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It does not name classes by WordNet id.
    """
    if names is None:
        places = [folder / n for folder in (root, root.parent) for n in USUAL]
        names = next(filter(Path.is_file, places), None)
        if names is None:
            raise MissingFileError(
                f'no names of classes at {root}: put '
                'imagenet_class_index.json or LOC_synset_mapping.txt there, '
                'or say names=PATH'
            )
    path = Path(names)
    if not path.is_file():
        raise MissingFileError(f'no names of classes at {path}: no such file')
    if path.suffix == '.mat':
        return _read_meta(path)
    text = read_text(path, reading)
    rows = _json_rows(text) if path.suffix == '.json' else _text_rows(text)
    if not rows:
        raise UsageError(
            f'{path} does not name classes by WordNet id: expected lines of '
            '"n01440764 tench", or JSON of {"0": ["n01440764", "tench"]}'
        )
    return Synsets(rows, path)


def _text_rows(text: str) -> dict[str, str]:
    """Names of lines that begin with a WordNet id."""
    rows = (line.split(maxsplit=1) for line in text.splitlines())
    return {
        row[0]: _first(row[1])
        for row in rows
        if len(row) == 2 and WNID.fullmatch(row[0])
    }


def _json_rows(text: str) -> dict[str, str]:
    """Names of a JSON object, in either form."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return {}
    rows = content.items() if isinstance(content, dict) else []
    return dict(filter(None, (_json_row(key, value) for key, value in rows)))


def _json_row(key: str, value: Any) -> tuple[str, str] | None:
    """Id and name of an entry, None where it has no id or no name."""
    parts = [key, *(value if isinstance(value, list) else [value])]
    words = [part for part in parts if isinstance(part, str)]
    at = [place for place, word in enumerate(words) if WNID.fullmatch(word)]
    if not at or at[0] + 1 >= len(words):
        return None
    return words[at[0]], _first(words[at[0] + 1])


def _first(names: str) -> str:
    """The first of several names, in words."""
    return ' '.join(names.split(',')[0].replace('_', ' ').split())


def _read_meta(path: Path) -> Synsets:
    """Names, and the kit's own numbers, of a development kit's meta.mat."""
    # slow to import, and needed for this file only
    from scipy.io import loadmat

    try:
        rows = loadmat(path, squeeze_me=True)['synsets']
        # The kit also lists the classes above the thousand.
        leaves = [row for row in rows if int(row['num_children']) == 0]
        numbers = {int(r['ILSVRC2012_ID']): str(r['WNID']) for r in leaves}
        names = {str(r['WNID']): _first(str(r['words'])) for r in leaves}
    # Whatever a damaged file makes its reader raise.
    except Exception as error:
        raise UsageError(
            f"{path} is not the development kit's meta.mat: {error!r}"
        ) from error
    return Synsets(names, path, numbers)
