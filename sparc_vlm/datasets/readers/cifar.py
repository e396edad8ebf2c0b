"""CIFAR-10 and CIFAR-100 from their official binary version.

The Python version is pickled, and nothing that was downloaded is unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sparc_vlm.datasets.images import BrokenImage
from sparc_vlm.datasets.pairs import PairSource
from sparc_vlm.datasets.report import note
from sparc_vlm.datasets.text import read_text
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import DATASETS

SIDE = 32


class _Layout(NamedTuple):
    """One of the two data sets, as its files are laid out."""

    folder: str
    files: dict[str, list[str]]
    # of each kind of label, in the order of a record's bytes
    names: dict[str, str]


LAYOUTS = (
    _Layout(
        'cifar-10-batches-bin',
        {
            'train': [f'data_batch_{n}.bin' for n in range(1, 6)],
            'test': ['test_batch.bin'],
        },
        {'fine': 'batches.meta.txt'},
    ),
    _Layout(
        'cifar-100-binary',
        {'train': ['train.bin'], 'test': ['test.bin']},
        {'coarse': 'coarse_label_names.txt', 'fine': 'fine_label_names.txt'},
    ),
)


@DATASETS.register_module()
class Cifar(PairSource):
    """CIFAR-10 or CIFAR-100, whichever lies in a folder.

    Pictures are read from the disk as they are asked for.

    Args:
        root: The unpacked binary version (cifar-10-batches-bin or
            cifar-100-binary), or the folder that it is in.
        split: 'test' or 'train'.
        labels: 'fine', or for CIFAR-100 also 'coarse', its 20 superclasses.
        template: Wording of the caption.

    Attributes:
        classes: The names of the classes.

    Raises:
        FileNotFoundError: The binary version, or one of its files, is not
            there.
        ValueError: An unknown split, or a kind of label that there is not.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = 'test',
        labels: str = 'fine',
        template: str = '{}',
    ) -> None:
        super().__init__()
        if split not in ('train', 'test'):
            raise UsageError(f"split is 'train' or 'test', not {split!r}")
        layout, folder = _find(Path(root))
        if labels not in layout.names:
            raise UsageError(
                f'{folder.name} has {" and ".join(layout.names)} labels, not '
                f'{labels!r}'
            )
        self.template = template
        self.classes = self._read_names(folder / layout.names[labels])
        self._marks = len(layout.names)
        self._files = [_need(folder / name) for name in layout.files[split]]
        marks = [self._read_marks(path) for path in self._files]
        self._starts = np.cumsum([0, *map(len, marks)])
        at = list(layout.names).index(labels)
        self._labels = np.concatenate(marks)[:, at]
        for index in np.flatnonzero(self._labels >= len(self.classes)):
            note(self.reading, 'skipped_rows', f'{self.key(index)}: no class')

    def _read_names(self, path: Path) -> list[str]:
        """Names of classes, one a line."""
        lines = read_text(_need(path), self.reading).splitlines()
        return [
            line.strip().replace('_', ' ') for line in lines if line.strip()
        ]

    def _read_marks(self, path: Path) -> np.ndarray:
        """(N, marks) labels of a file; what is left at its end is noted."""
        size = self._marks + 3 * SIDE * SIDE
        count, rest = divmod(path.stat().st_size, size)
        if rest:
            note(self.reading, 'skipped_rows', f'{path}: ends in mid-record')
        if not count:
            raise UsageError(f'{path} has no picture in it')
        records = np.memmap(path, np.uint8, 'r', shape=(count, size))
        return np.array(records[:, : self._marks])

    def __len__(self) -> int:
        """Number of pictures."""
        return int(self._starts[-1])

    def _place(self, index: int) -> tuple[Path, int]:
        """File of a picture, and its place there."""
        if not 0 <= index < len(self):
            raise IndexError(f'picture {index} of {len(self)}')
        file = int(np.searchsorted(self._starts, index, side='right')) - 1
        return self._files[file], int(index - self._starts[file])

    def key(self, index: int) -> str:
        """The file that the picture is in, and its number there."""
        path, place = self._place(index)
        return f'{path.name}/{place}'

    def label(self, index: int) -> int:
        """Place of the picture's class among `classes`; -1 if it has none."""
        label = int(self._labels[index])
        return label if label < len(self.classes) else -1

    def captions(self, index: int) -> list[str]:
        """The name of the picture's class, in the template."""
        label = self.label(index)
        if label < 0:
            return []
        return [self.template.format(self.classes[label])]

    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """The picture in RGB, 32 pixels wide and high.

        Args:
            index: Which one.
            at_least: Makes no difference.

        Raises:
            BrokenImage: Its file has gone or become shorter.
        """
        path, place = self._place(index)
        size = 3 * SIDE * SIDE
        start = place * (self._marks + size) + self._marks
        try:
            # Opened each time: workers must not share a place in a file.
            with path.open('rb') as file:
                file.seek(start)
                values = np.frombuffer(file.read(size), np.uint8)
            pixels = values.reshape(3, SIDE, SIDE).transpose(1, 2, 0)
        except (OSError, ValueError) as error:
            raise BrokenImage(self.key(index), str(error)) from error
        return Image.fromarray(np.ascontiguousarray(pixels))


def _find(root: Path) -> tuple[_Layout, Path]:
    """The data set that is in a folder, and the folder of its files."""
    for folder in (root, *(root / layout.folder for layout in LAYOUTS)):
        for layout in LAYOUTS:
            if any(
                (folder / name).is_file() for name in layout.names.values()
            ):
                return layout, folder
    if not root.exists():
        raise MissingFileError(f'no CIFAR at {root}: no such folder')
    raise MissingFileError(
        f'no binary version of CIFAR at {root}: unpack '
        'cifar-10-binary.tar.gz or cifar-100-binary.tar.gz there (the Python '
        'version is pickled, and is not read)'
    )


def _need(path: Path) -> Path:
    if not path.is_file():
        raise MissingFileError(f'no file at {path}: unpack all of CIFAR')
    return path
