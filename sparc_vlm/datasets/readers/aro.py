"""ARO's relations and attributes: parts of Visual Genome's pictures.

Each case has a box that both objects are in, a true caption, and one in which
they have changed over: 'the horse is eating the grass', 'the grass is eating
the horse'. Only what is in the box is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from sparc_vlm.datasets.pairs import PairSource
from sparc_vlm.datasets.readers.aro_relations import SYMMETRIC
from sparc_vlm.datasets.readers.files import read_json
from sparc_vlm.datasets.readers.foils import Foil, FoiledPairs, as_foil
from sparc_vlm.datasets.readers.listed import Images
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.source import find_images
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import DATASETS

Part = Literal['relation', 'attribution']
PARTS = ('relation', 'attribution')
# Pairs of attributes that are rarer have no accuracy of their own.
LEAST = 25
Box = tuple[int, int, int, int]
"""x, y, width and height in pixels."""


@DATASETS.register_module()
class Aro(FoiledPairs):
    """Visual Genome Relation or Visual Genome Attribution, of ARO.

    The kinds are the relations, or the pairs of attributes such as
    'black_white', so that the mean over kinds is ARO's own number.

    Args:
        root: Folder of `visual_genome_relation.json` or
            `visual_genome_attribution.json`.
        part: 'relation' or 'attribution'.
        images: Folder, zip or tar of the pictures; by default `images` or
            `vgr_vga_images.zip` in `root`.
        keep_all: Take all cases. ARO's means leave out relations that may
            hold both ways, such as 'next to', and pairs of attributes with
            fewer than 25 cases.

    Raises:
        FileNotFoundError: A file is not there, or no pictures.
        ValueError: An unknown part; the file is not in ARO's form.
    """

    def __init__(
        self,
        root: str | Path,
        part: Part = 'relation',
        images: Images | None = None,
        keep_all: bool = False,
    ) -> None:
        if part not in PARTS:
            raise UsageError(
                f"part is 'relation' or 'attribution', not {part!r}"
            )
        path = Path(root) / f'visual_genome_{part}.json'
        reading = new_report()
        cases = list(_cases(path, part, reading))
        if not keep_all:
            cases = _counted(cases, part)
        # A crop is a picture of its own, encoded once for all its cases.
        crops = dict.fromkeys((name, box) for name, box, _ in cases)
        self._crops = list(crops)
        keys = {crop: _key(*crop) for crop in crops}
        rows = ((keys[name, box], foil) for name, box, foil in cases)
        images = images or find_images(Path(root), 'vgr_vga_images')
        super().__init__(images, rows, reading, str(path))

    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """What is in the box, in RGB; black where it leaves the picture.

        Args:
            index: Which one.
            at_least: Not used: the box is in pixels of the whole picture.

        Raises:
            BrokenImage: The picture is not there, or cannot be read.
        """
        name, (x, y, width, height) = self._crops[index]
        whole = self.store.image(name)
        return whole.crop((x, y, x + width, y + height))

    def picture(self, index: int) -> str:
        """The whole picture, of which several crops may be shown."""
        return self._crops[index][0]

    # Not the file of the whole picture.
    file = PairSource.file


def _key(name: str, box: Box) -> str:
    return f'{name}@{",".join(map(str, box))}'


def _cases(
    path: Path, part: Part, reading: Report
) -> Iterator[tuple[str, Box, Foil]]:
    """Pictures, boxes and foils; rows that lack something are counted."""
    content: Any = read_json(path, '', reading)
    if not isinstance(content, list):
        raise UsageError(f'{path} is not a list of cases')
    for number, row in enumerate(content):
        where = f'{path}, case {number}'
        try:
            box = tuple(int(row[f'bbox_{side}']) for side in 'xywh')
            name, kind = row['image_path'], _kind(row, part)
            good = isinstance(name, str) and min(box[2:]) > 0
        except (KeyError, TypeError, ValueError, IndexError):
            good = False
        if not good:
            note(reading, 'skipped_rows', f'{where}: no picture, box or kind')
            continue
        texts = row.get('true_caption'), row.get('false_caption')
        foil = as_foil(kind, *texts, where, reading)
        if foil is not None:
            yield name, box, foil


def _kind(row: dict[str, Any], part: Part) -> str:
    if part == 'relation':
        return str(row['relation_name'])
    first, second = row['attributes']
    return f'{first}_{second}'


def _counted(
    cases: list[tuple[str, Box, Foil]], part: Part
) -> list[tuple[str, Box, Foil]]:
    """Those that ARO's means are over."""
    count = Counter(foil['kind'] for *_, foil in cases)
    if part == 'relation':
        kinds = count.keys() - SYMMETRIC
    else:
        kinds = {kind for kind, own in count.items() if own >= LEAST}
    return [case for case in cases if case[2]['kind'] in kinds]
