"""Pictures with true captions and false ones: SugarCrepe, and its base.

SugarCrepe has a JSON file for each kind of foil, on pictures of COCO's
val2017: `{"0": {"filename": ..., "caption": ..., "negative_caption": ...}}`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from sparc_vlm.datasets.readers.files import as_several, read_json
from sparc_vlm.datasets.readers.listed import Images, ListedPairs, as_caption
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.source import find_images
from sparc_vlm.datasets.text import PackedStrings
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import DATASETS

SUGAR_CREPE = (
    'add_att add_obj replace_att replace_obj replace_rel swap_att swap_obj'
).split()
Foil = dict[str, str]
"""A `kind`, a true `caption`, and the `foil` that is false."""


class FoiledPairs(ListedPairs):
    """Pictures of a store, each with its true captions and their foils.

    Args:
        images: Folder, zip or tar of the pictures, or several.
        rows: Name of a picture, and one of its foils.
        reading: What was counted while the rows were read.
        needs: Where rows were looked for, for the error if there is none.

    Raises:
        ValueError: There are no rows.
    """

    def __init__(
        self,
        images: Images,
        rows: Iterable[tuple[str, Foil]],
        reading: Report,
        needs: str,
    ) -> None:
        found: dict[str, list[Foil]] = {}
        for name, foil in rows:
            found.setdefault(name, []).append(foil)
        if not found:
            raise UsageError(f'{needs} has no caption with a foil')
        entries = [
            (name, list(dict.fromkeys(foil['caption'] for foil in foils)))
            for name, foils in found.items()
        ]
        super().__init__(images, entries, reading)
        self._foils = PackedStrings(map(json.dumps, found.values()))

    def foils(self, index: int) -> list[Foil]:
        """The picture's captions with what is false of it.

        Args:
            index: Which picture.

        Returns:
            For each foil its `kind`, the true `caption`, and the `foil`.
        """
        return json.loads(self._foils[index])


@DATASETS.register_module()
class SugarCrepe(FoiledPairs):
    """SugarCrepe's captions and foils on COCO's val2017.

    Args:
        root: Folder of `swap_att.json` and the others.
        images: Folder, zip or tar of the pictures; by default `val2017` or
            the like in `root`.
        kinds: Which files are read; None takes those that are there.

    Raises:
        FileNotFoundError: A file is not there, or no file, or no pictures.
        ValueError: An unknown kind; a file is not in SugarCrepe's form.
    """

    def __init__(
        self,
        root: str | Path,
        images: Images | None = None,
        kinds: Sequence[str] | None = None,
    ) -> None:
        root = Path(root)
        kinds = as_several(kinds)
        for kind in kinds:
            if kind not in SUGAR_CREPE:
                raise UsageError(
                    f'kinds are some of {", ".join(SUGAR_CREPE)}, not {kind!r}'
                )
        kinds = kinds or _kinds_of(root)
        reading = new_report()
        rows = [
            row
            for kind in kinds
            for row in _rows(root / f'{kind}.json', kind, reading)
        ]
        images = images or find_images(root, 'val2017')
        super().__init__(images, rows, reading, str(root))


def _kinds_of(root: Path) -> list[str]:
    """The kinds that have a file; says in the log which have none."""
    kinds = [kind for kind in SUGAR_CREPE if (root / f'{kind}.json').is_file()]
    if not kinds:
        raise MissingFileError(
            f'no foils at {root}: looked for '
            f'{", ".join(f"{kind}.json" for kind in SUGAR_CREPE)}'
        )
    if len(kinds) < len(SUGAR_CREPE):
        lacking = ', '.join(k for k in SUGAR_CREPE if k not in kinds)
        print_log(
            f'{root} lacks {lacking}: means are over the other {len(kinds)} '
            'kinds of foil',
            logger='current',
            level=logging.WARNING,
        )
    return kinds


def _rows(
    path: Path, kind: str, reading: Report
) -> Iterable[tuple[str, Foil]]:
    """Pictures and foils of a file; rows that lack something are counted."""
    content: Any = read_json(path, '', reading)
    if not isinstance(content, dict):
        raise UsageError(f'{path} is not an object of numbered captions')
    for number, row in content.items():
        where = f'{path}, {number}'
        name = row.get('filename') if isinstance(row, dict) else None
        if not isinstance(name, str):
            note(reading, 'skipped_rows', f'{where}: no filename')
            continue
        foil = as_foil(
            kind,
            row.get('caption'),
            row.get('negative_caption'),
            where,
            reading,
        )
        if foil is not None:
            yield name, foil


def as_foil(
    kind: str, caption: object, foil: object, where: str, reading: Report
) -> Foil | None:
    """A foil; one of which a text is missing counts as a skipped row.

    Args:
        kind: Of the foil.
        caption: What the annotations have as the true caption.
        foil: And as the false one.
        where: Where they stand, for the report.
        reading: Counts it.
    """
    texts = [as_caption(text, where, reading) for text in (caption, foil)]
    if not all(isinstance(text, str) for text in (caption, foil)):
        return None
    if not all(texts):
        note(reading, 'skipped_rows', f'{where}: an empty caption or foil')
        return None
    return {'kind': kind, 'caption': texts[0], 'foil': texts[1]}
