"""What people think of captions: the annotations of Flickr8k.

Each line of ExpertAnnotations.txt has a picture, the name of a caption, and
the grades of three experts, 1 to 4; of CrowdFlowerAnnotations.txt, the share
of Yes, and how many said Yes and No. The captions are in Flickr8k.token.txt,
whose numbering other files of the data set do not share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from sparc_vlm.datasets.readers.listed import Images, ListedPairs
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.source import find_images
from sparc_vlm.datasets.text import PackedStrings, read_text
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import DATASETS

Judges = Literal['expert', 'crowdflower']
CAPTIONS = 'Flickr8k.token.txt'
FILES: dict[Judges, str] = {
    'expert': 'ExpertAnnotations.txt',
    'crowdflower': 'CrowdFlowerAnnotations.txt',
}
Row = tuple[str, str, list[float]]
"""A picture, the name of a caption, and what was thought of the two."""


@DATASETS.register_module()
class Flickr8kJudgements(ListedPairs):
    """Pictures of Flickr8k with captions that people have judged.

    Args:
        root: Folder of the text files.
        judges: 'expert' or 'crowdflower'.
        images: Folder, zip or tar of the pictures; by default
            `Flicker8k_Dataset` or the like in `root`.
        own_captions: Whether a picture's own captions are among those judged;
            None follows the field, which leaves them out of the experts' (158
            pairs) and keeps them in CrowdFlower's.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: Unknown judges, or nothing was judged.
    """

    def __init__(
        self,
        root: str | Path,
        judges: Judges = 'expert',
        images: Images | None = None,
        own_captions: bool | None = None,
    ) -> None:
        if judges not in FILES:
            raise UsageError(
                f"judges is 'expert' or 'crowdflower', not {judges!r}"
            )
        root = Path(root)
        file = root / FILES[judges]
        for path in (file, root / CAPTIONS):
            if not path.is_file():
                raise MissingFileError(
                    f'{root} has no {path.name}: judgements need it and '
                    f'{CAPTIONS}, from Flickr8k_text.zip'
                )
        reading = new_report()
        texts = dict(_captions(root / CAPTIONS, reading))
        own: dict[str, list[str]] = {}
        for name, text in texts.items():
            own.setdefault(_picture(name), []).append(text)
        if own_captions is None:
            own_captions = judges == 'crowdflower'
        judged: dict[str, list[dict[str, Any]]] = {}
        scores = _expert if judges == 'expert' else _crowd
        for picture, name, values in _rows(file, scores, reading):
            if name not in texts:
                problem = f'{file}: {CAPTIONS} has no {name}'
                note(reading, 'skipped_rows', problem)
            elif own_captions or texts[name] not in own.get(picture, []):
                judged.setdefault(picture, []).append(
                    {'key': name, 'caption': texts[name], 'scores': values}
                )
        if not judged:
            raise UsageError(f'{file} has no judgement of any caption')
        images = images or find_images(root)
        entries = [(picture, own.get(picture, [])) for picture in judged]
        super().__init__(images, entries, reading)
        self._judged = PackedStrings(map(json.dumps, judged.values()))

    def judgements(self, index: int) -> list[dict[str, Any]]:
        """The captions that were judged with a picture.

        Args:
            index: Which picture.

        Returns:
            For each its `key`, such as 'name.jpg#2'; `caption`; and `scores`,
            one for each judge, or for all of the crowd the share of Yes.
        """
        return json.loads(self._judged[index])


def _picture(name: str) -> str:
    """The picture of the caption of that name."""
    return name.rpartition('#')[0]


def _captions(path: Path, reading: Report) -> Iterator[tuple[str, str]]:
    """Names and texts of all captions."""
    for where, (name, *texts) in _lines(path, reading):
        if len(texts) == 1 and '#' in name:
            yield name, ' '.join(texts[0].split())
        else:
            note(reading, 'skipped_rows', f'{where}: not a name and caption')


def _rows(
    path: Path,
    scores: Callable[[list[str]], list[float] | None],
    reading: Report,
) -> Iterator[Row]:
    """What was judged; lines that make no sense are counted."""
    for where, (picture, *rest) in _lines(path, reading):
        try:
            name, *columns = rest
            found = scores(columns)
        except ValueError:
            found = None
        if found is None:
            note(reading, 'skipped_rows', f'{where}: not a judgement')
        else:
            yield picture, name, found


def _lines(path: Path, reading: Report) -> Iterator[tuple[str, list[str]]]:
    """Where each line stands, and its columns."""
    for number, line in enumerate(read_text(path, reading).split('\n'), 1):
        if line.strip():
            columns = [column.strip() for column in line.split('\t')]
            yield f'{path}, line {number}', columns


def _expert(columns: list[str]) -> list[float] | None:
    """Three grades from 1 to 4, or None."""
    grades = [int(column) for column in columns]
    good = len(grades) == 3 and all(1 <= grade <= 4 for grade in grades)
    return [float(grade) for grade in grades] if good else None


def _crowd(columns: list[str]) -> list[float] | None:
    """The share of Yes, where it is that of the counts; or None."""
    share, yes, no = columns
    total = int(yes) + int(no)
    if total < 1 or abs(float(share) - int(yes) / total) > 1e-3:
        return None
    return [int(yes) / total]
