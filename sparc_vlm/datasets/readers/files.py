"""JSON annotation files, with errors that say which file is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from sparc_vlm.datasets.report import Report, note
from sparc_vlm.datasets.text import read_text
from sparc_vlm.errors import MissingFileError, UsageError

T = TypeVar('T')


def read_json(path: str | Path, needs: str, reading: Report) -> dict[str, Any]:
    """Reads an annotation file.

    Args:
        path: The file.
        needs: The top-level keys that it must have, in one string.
        reading: Counts lines in a wrong encoding.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, or a key is missing.
    """
    content = load_json(path, reading)
    missing = [
        key
        for key in needs.split()
        if not isinstance(content, dict) or key not in content
    ]
    if missing:
        raise UsageError(
            f'{path} has no {missing[0]!r}: expected an annotation file with '
            f'{", ".join(needs.split())}'
        )
    return content


def load_json(path: str | Path, reading: Report) -> Any:
    """Whatever is in a JSON file.

    Args:
        path: The file.
        reading: Counts lines in a wrong encoding.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON.
    """
    if not Path(path).is_file():
        raise MissingFileError(f'no annotations at {path}: no such file')
    try:
        # Control characters inside strings are met in captions.
        return json.loads(read_text(path, reading), strict=False)
    except json.JSONDecodeError as error:
        raise UsageError(f'{path} is not JSON: {error}') from error


def picture_files(
    path: str | Path, content: dict[str, Any], reading: Report
) -> dict[int, str]:
    """Name of each picture's file by its id, of a file in COCO's form.

    Args:
        path: The file.
        content: What is in it.
        reading: Counts pictures without an id or a name.
    """
    files: dict[int, str] = {}
    for image in content['images']:
        if 'id' in image and isinstance(image.get('file_name'), str):
            files[image['id']] = image['file_name']
        else:
            where = f'{path}: {image}'
            note(reading, 'skipped_rows', f'{where}: no id or file_name')
    return files


def as_several(
    given: T | Sequence[T] | None, usual: Sequence[T] = ()
) -> Sequence[T]:
    """A list that a user gave; one thing alone stands for itself.

    `corruptions=fog` on a command line is a word, not the letters of one.

    Args:
        given: One or several; None for none.
        usual: What stands for none.
    """
    if given is None:
        return usual
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    return given if is_list else (given,)
