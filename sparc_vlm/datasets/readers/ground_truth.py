"""ImageNet's ground truth beside a flat folder of validation pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sparc_vlm.datasets.readers.synsets import WNID, Synsets, find_synsets
from sparc_vlm.datasets.report import Report, note
from sparc_vlm.datasets.text import read_text
from sparc_vlm.errors import MissingFileError, UsageError

KIT = 'ILSVRC2012_validation_ground_truth.txt'
USUAL = (
    'LOC_val_solution.csv',
    KIT,
    f'data/{KIT}',
    f'ILSVRC2012_devkit_t12/data/{KIT}',
    'imagenet_2012_validation_synset_labels.txt',
    'val.txt',
)


def find_truth(
    truth: str | Path | None, root: Path, synsets: Synsets, reading: Report
) -> dict[str, str]:
    """WordNet ids of validation pictures by name, without folder and ending.

    Args:
        truth: The file: LOC_val_solution.csv; 'picture id' or 'picture
            number' a line, numbers from 0 in the order of the sorted ids; or
            one column in the order of the pictures' numbers, either of ids
            or, as in the development kit, of the kit's own numbers from 1.
            None looks for a file of a usual name.
        root: Looks there, and in the folder above.
        synsets: Which id has which number.
        reading: Counts rows that make no sense.

    Raises:
        FileNotFoundError: There is no such file, or the kit's meta.mat,
            which numbers cannot be read without, is missing.
        ValueError: Not one row makes sense.
    """
    if truth is None:
        places = [folder / n for folder in (root, root.parent) for n in USUAL]
        truth = next(filter(Path.is_file, places), None)
        if truth is None:
            raise MissingFileError(
                f'{root} has neither class folders nor a ground truth: put '
                f'LOC_val_solution.csv or {KIT} there, or say truth=PATH'
            )
    path = Path(truth)
    if not path.is_file():
        raise MissingFileError(f'no ground truth at {path}: no such file')
    rows = [
        re.split(r'[,\s]+', line.strip())
        for line in read_text(path, reading).splitlines()
        if line.strip()
    ]
    if rows and all(len(row) == 1 for row in rows):
        found = _one_column([row[0] for row in rows], path, synsets, reading)
    else:
        found = _two_columns(rows, path, synsets, reading)
    truths = dict(found)
    if not truths:
        raise UsageError(
            f'{path} says no class of any picture: expected lines of '
            '"ILSVRC2012_val_00000001 n01751748"'
        )
    return truths


def _two_columns(
    rows: list[list[str]], path: Path, synsets: Synsets, reading: Report
) -> Iterator[tuple[str, str]]:
    """Of rows 'picture class ...', the class an id or a number."""
    for number, (picture, *rest) in enumerate(rows, 1):
        kind = rest[0] if rest else ''
        if kind.isdecimal():
            kind = synsets.at(int(kind))
        if WNID.fullmatch(kind):
            yield Path(picture).stem, kind
        elif number > 1:  # the first may be the header
            where = f'{path}, line {number}'
            note(reading, 'skipped_rows', f'{where}: not a picture and class')


def _one_column(
    kinds: list[str], path: Path, synsets: Synsets, reading: Report
) -> Iterator[tuple[str, str]]:
    """Of rows that are classes, one for each picture in turn."""
    numbers: dict[int, str] = {}
    if any(kind.isdecimal() for kind in kinds):
        numbers = _kit_numbers(path, synsets, reading)
    for number, kind in enumerate(kinds, 1):
        wnid = numbers.get(int(kind)) if kind.isdecimal() else kind
        if wnid and WNID.fullmatch(wnid):
            yield f'ILSVRC2012_val_{number:08d}', wnid
        else:
            where = f'{path}, line {number}'
            note(reading, 'skipped_rows', f'{where}: not a class')


def _kit_numbers(
    path: Path, synsets: Synsets, reading: Report
) -> dict[int, str]:
    """The development kit's numbering of the classes."""
    if synsets.numbers is not None:
        return synsets.numbers
    meta = path.with_name('meta.mat')
    if not meta.is_file():
        raise MissingFileError(
            f"{path} has the development kit's numbers, which its meta.mat "
            f'explains: put that file beside it, at {meta}'
        )
    return find_synsets(meta, path.parent, reading).numbers or {}
