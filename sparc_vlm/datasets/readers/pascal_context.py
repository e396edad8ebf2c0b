"""Pascal Context's 59 classes, from its own maps or from converted ones."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from sparc_vlm.datasets.images import decode_numbers, reading_image
from sparc_vlm.datasets.readers.segmented import VOID, SegmentedPictures
from sparc_vlm.datasets.readers.voc import UNSAID, find_year, read_list
from sparc_vlm.datasets.report import Report, new_report
from sparc_vlm.datasets.store import ImageStore
from sparc_vlm.datasets.text import read_text
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import DATASETS

# The 59 of the 459 classes that are common enough, with their numbers there.
NUMBERS = {
    'aeroplane': 2, 'bag': 9, 'bed': 18, 'bedclothes': 19, 'bench': 22,
    'bicycle': 23, 'bird': 25, 'boat': 31, 'book': 33, 'bottle': 34,
    'building': 44, 'bus': 45, 'cabinet': 46, 'car': 59, 'cat': 65,
    'ceiling': 68, 'chair': 72, 'cloth': 80, 'computer': 85, 'cow': 98,
    'cup': 104, 'curtain': 105, 'dog': 113, 'door': 115, 'fence': 144,
    'floor': 158, 'flower': 159, 'food': 162, 'grass': 187, 'ground': 189,
    'horse': 207, 'keyboard': 220, 'light': 232, 'motorbike': 258,
    'mountain': 259, 'mouse': 260, 'person': 284, 'plate': 295,
    'platform': 296, 'potted plant': 308, 'road': 324, 'rock': 326,
    'sheep': 347, 'shelves': 349, 'sidewalk': 354, 'sign': 355, 'sky': 360,
    'snow': 366, 'sofa': 368, 'table': 397, 'track': 415, 'train': 416,
    'tree': 420, 'truck': 424, 'tv monitor': 427, 'wall': 440, 'water': 445,
    'window': 454, 'wood': 458,
}  # fmt: skip
CLASSES = list(NUMBERS)
# What 59_labels.txt calls classes that labels.txt has under another name.
OTHER_NAMES = {
    'table': 'diningtable',
    'bedclothes': 'bedcloth',
    'cloth': 'clothes',
}
CONVERTED = 'SegmentationClassContext'


@DATASETS.register_module()
class PascalContext(SegmentedPictures):
    """Pictures of Pascal VOC 2010 with 59 classes of things and stuff.

    Pixels of the other 400 classes are background.

    Args:
        root: The development kit: VOC2010, VOCdevkit, or the folder that
            VOCdevkit is in.
        split: 'val' or 'train', the name of a list in
            ImageSets/SegmentationContext, beside the maps, or in
            ImageSets/Main.
        maps: Folder of the maps: PNGs, or the original's .mat files of 459
            classes. None looks for SegmentationClassContext in VOC2010 (as
            mmsegmentation converts them), then for a folder called trainval
            there and in the two folders above.
        names: What the numbers in the maps mean, lines of '1: accordion'.
            None takes labels.txt beside or among the .mat files, and where
            there is none the original's numbers; in PNGs, 1 to 59 in
            alphabetical order, as mmsegmentation numbers them. Those that
            are numbered as in 59_labels.txt need that file.

    Raises:
        FileNotFoundError: A folder, or the split's list, is not there.
        ValueError: The list is empty, or a class has no number in `names`.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = 'val',
        maps: str | Path | None = None,
        names: str | Path | None = None,
    ) -> None:
        reading = new_report()
        year = find_year(Path(root), 'JPEGImages', 'VOC2010')
        folder = Path(maps) if maps else _find_maps(Path(root), year)
        self._maps = ImageStore(folder)
        is_mat = any(folder.glob('*.mat'))
        self._suffix = '.mat' if is_mat else '.png'
        numbers = _find_numbers(folder, is_mat, names, reading)
        # A converted map has no other numbers; an original one has 400 more.
        others = 0 if is_mat else len(CLASSES) + 1
        self._table = np.full(1 << 16, others)
        self._table[0] = 0
        if not is_mat:
            self._table[UNSAID] = VOID
        for place, name in enumerate(CLASSES, 1):
            self._table[numbers[name]] = place
        sets = year / 'ImageSets'
        lists = [
            place / f'{split}.txt'
            for place in (
                sets / 'SegmentationContext',
                folder.parent,
                sets / 'Main',
            )
        ]
        listed = read_list(lists, reading)
        images = year / 'JPEGImages'
        pictures = (f'{name}.jpg' for name in listed)
        super().__init__(images, pictures, list(CLASSES), reading)

    def labels(self, index: int) -> np.ndarray:
        """(H, W) classes from 1 to 59, 0 or `VOID`.

        Args:
            index: Which picture.

        Raises:
            BrokenImage: The map is not there, or cannot be read.
        """
        name = f'{Path(self.key(index)).stem}{self._suffix}'
        data = self._maps.read(name)
        if self._suffix == '.mat':
            return self._table[_decode_mat(data, name)]
        return self._table[decode_numbers(data, name)]


def _find_maps(root: Path, year: Path) -> Path:
    """The folder of maps, converted or not."""
    places = [year / CONVERTED]
    above = [root, year, *year.parents[:2]]
    places += [folder / 'trainval' for folder in above]
    folder = next(filter(Path.is_dir, places), None)
    if folder is None:
        raise MissingFileError(
            f'no maps of Pascal Context at {root}: looked for {CONVERTED} '
            'and for a folder trainval of .mat files; or say maps=PATH'
        )
    return folder


def _find_numbers(
    folder: Path,
    is_mat: bool,
    names: str | Path | None,
    reading: Report,
) -> dict[str, int]:
    """The number of each class in the maps of a folder."""
    places = [folder.parent / 'labels.txt', folder / 'labels.txt']
    if names is not None:
        places = [Path(names)]
        if not places[0].is_file():
            raise MissingFileError(f'no names at {names}: no such file')
    path = next(filter(Path.is_file, places), None)
    if names is None and not is_mat:
        return {name: place for place, name in enumerate(CLASSES, 1)}
    if path is None:
        return NUMBERS
    rows = re.findall(
        r'^\s*(\d+)\s*:?\s*(\S.*?)\s*$', read_text(path, reading), re.MULTILINE
    )
    known = {name.replace(' ', '').lower(): int(n) for n, name in rows}
    numbers = {}
    for name in CLASSES:
        plain = name.replace(' ', '')
        number = known.get(plain, known.get(OTHER_NAMES.get(name, plain)))
        if number is None:
            raise UsageError(
                f'{path} has no number for {name}: expected the labels.txt of '
                'Pascal Context, with lines such as "1: accordion"'
            )
        numbers[name] = number
    return numbers


def _decode_mat(data: bytes, name: str) -> np.ndarray:
    """(H, W) numbers of an original map."""
    # slow to import, and needed for these files only
    from scipy.io import loadmat

    with reading_image(name):
        return loadmat(io.BytesIO(data))['LabelMap'].astype(np.int64)
