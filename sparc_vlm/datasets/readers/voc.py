"""Pascal VOC's segmentation, in the layout of its development kit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sparc_vlm.datasets.images import decode_numbers
from sparc_vlm.datasets.readers.segmented import VOID, SegmentedPictures
from sparc_vlm.datasets.report import Report, new_report
from sparc_vlm.datasets.store import ImageStore
from sparc_vlm.datasets.text import read_text
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import DATASETS

# Written as words: the kit has diningtable, pottedplant and tvmonitor.
CLASSES = (
    'aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,dining table,'
    'dog,horse,motorbike,person,potted plant,sheep,sofa,train,tv monitor'
).split(',')
# The line around objects, and objects too difficult to tell.
UNSAID = 255


@DATASETS.register_module()
class PascalVoc(SegmentedPictures):
    """Pictures of Pascal VOC with the classes of its 20 kinds of object.

    Args:
        root: The unpacked development kit: VOC2012, VOCdevkit, or the folder
            that VOCdevkit is in. Of several years the last is taken.
        split: 'val', 'train' or 'trainval', or the name of another list in
            ImageSets/Segmentation.
        maps: Folder of the maps in that of the year; the augmented ones are
            usually in SegmentationClassAug.

    Raises:
        FileNotFoundError: A folder or the split's list is not there.
        ValueError: The list is empty.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = 'val',
        maps: str = 'SegmentationClass',
    ) -> None:
        reading = new_report()
        folder = find_year(Path(root), maps)
        lists = [folder / 'ImageSets' / 'Segmentation' / f'{split}.txt']
        names = read_list(lists, reading)
        images = folder / 'JPEGImages'
        super().__init__(
            images, (f'{n}.jpg' for n in names), list(CLASSES), reading
        )
        self._maps = ImageStore(folder / maps)

    def labels(self, index: int) -> np.ndarray:
        """(H, W) classes from 1 to 20, 0 or `VOID`.

        Args:
            index: Which picture.

        Raises:
            BrokenImage: The map is not there, or cannot be read.
        """
        name = f'{Path(self.key(index)).stem}.png'
        numbers = decode_numbers(self._maps.read(name), name)
        return np.where(numbers == UNSAID, VOID, numbers)


def find_year(root: Path, needs: str, year: str = 'VOC20*') -> Path:
    """The folder of one year of Pascal VOC.

    Args:
        root: That folder, or one of the two above it.
        needs: A folder that it must have.
        year: What the folder is called; of several the last is taken.

    Raises:
        FileNotFoundError: There is none.
    """
    years = [root]
    for pattern in (year, f'VOCdevkit/{year}'):
        years += sorted(root.glob(pattern), reverse=True)
    found = [folder for folder in years if (folder / needs).is_dir()]
    if not found:
        raise MissingFileError(
            f'no Pascal VOC at {root}: looked for {needs} there, in {year} '
            f'and in VOCdevkit/{year}'
        )
    return found[0]


def read_list(places: list[Path], reading: Report) -> list[str]:
    """Names of pictures, without folders and endings.

    Args:
        places: Files that may have them, one a line, alone or before other
            words; the first file that is there is read.
        reading: Counts lines in a wrong encoding.

    Raises:
        FileNotFoundError: None is there.
        ValueError: The file is empty.
    """
    path = next(filter(Path.is_file, places), None)
    if path is None:
        looked = ' or '.join(map(str, places))
        raise MissingFileError(f'no list of pictures: looked for {looked}')
    names = [line.split() for line in read_text(path, reading).splitlines()]
    if not any(names):
        raise UsageError(f'{path} lists no picture')
    return [Path(words[0]).stem for words in names if words]
