"""ImageNet-V2 and ImageNet-C: test sets of several parts, told by folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from sparc_vlm.datasets.readers.files import as_several
from sparc_vlm.datasets.readers.imagenet import WnidPictures, by_folder
from sparc_vlm.datasets.readers.labelled import picture_names
from sparc_vlm.datasets.readers.synsets import find_synsets
from sparc_vlm.datasets.report import new_report
from sparc_vlm.datasets.store import ImageStore
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import DATASETS

CORRUPTIONS = (
    'gaussian_noise shot_noise impulse_noise defocus_blur glass_blur '
    'motion_blur zoom_blur snow frost fog brightness contrast '
    'elastic_transform pixelate jpeg_compression'
).split()
"""The fifteen that the benchmark's mean is over."""

PARTS = {
    'matched-frequency': ('matched-frequency',),
    'threshold-0.7': ('threshold0.7', 'threshold-0.7'),
    'top-images': ('top-images', 'topimages'),
}
"""ImageNet-V2's three splits, and what their folders have in their names."""


@DATASETS.register_module()
class ImageNetV2(WnidPictures):
    """ImageNet-V2, one or all of its three splits.

    Args:
        root: A folder with the folders of the splits in it, or one of these;
            in each are folders 0 to 999, in the order of the sorted ids.
        split: 'matched-frequency', 'threshold-0.7' or 'top-images'; None
            takes all that are there, as groups of one source.
        names: File with the names of all 1000 classes, see `find_synsets`;
            by default one of a usual name in `root` or above it.
        template: Wording of the caption.

    Raises:
        FileNotFoundError: Nothing is at `root`, or there are no names.
        ValueError: An unknown split; no such folders.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        names: str | Path | None = None,
        template: str = '{}',
    ) -> None:
        if split is not None and split not in PARTS:
            raise UsageError(
                f'split is one of {", ".join(PARTS)}, or None, not {split!r}'
            )
        self._root = Path(root).name
        self._met: dict[str, str] = {}
        store, reading = ImageStore(root), new_report()
        synsets = find_synsets(names, Path(root), reading)
        entries = (
            (name, synsets.at(int(folder)))
            for name in picture_names(root, store)
            if (folder := f'/{name}'.split('/')[-2]).isdecimal()
            and split in (None, self._note(name))
        )
        needs = f'the folder of {split or "a split"} with 0 to 999 in it'
        super().__init__(store, entries, synsets, template, reading, needs)
        if split is None and '' in self._met and len(self._met) > 1:
            raise UsageError(
                f'{root} has pictures of which no folder says the split, '
                f'such as {self._met[""]}, beside others: its folders are '
                f'{", ".join(PARTS)}'
            )

    def _note(self, name: str) -> str:
        """The split that a picture is of; an example of each is kept."""
        part = self._part(name)
        self._met.setdefault(part, name)
        return part

    def _part(self, name: str) -> str:
        """The split that a picture is of; '' where no folder says."""
        folders = f'{self._root}/{name}'.replace('_', '-').split('/')[:-1]
        for part, marks in PARTS.items():
            if any(mark in folder for mark in marks for folder in folders):
                return part
        return ''

    def group(self, index: int) -> str:
        """The split that a picture is of."""
        return self._part(self.key(index))

    def picture(self, index: int) -> str:
        """Class and file: a picture may be in several splits."""
        return _class_and_file(self.key(index))


@DATASETS.register_module()
class ImageNetC(WnidPictures):
    """ImageNet-C: validation pictures, corrupted in kinds and severities.

    Each kind and severity is a group, such as 'fog/3'.

    Args:
        root: A folder with corruption/severity/id/picture.JPEG in it, with
            or without a folder of several corruptions (noise, blur ...)
            around; or with the official tars.
        corruptions: Which ones; None takes the fifteen of the benchmark, and
            leaves out those that its authors have set aside for tuning.
        severities: Which ones, of 1 to 5.
        names: File with the names of the classes, see `find_synsets`; by
            default one of a usual name in `root` or above it.
        template: Wording of the caption.

    Raises:
        FileNotFoundError: Nothing is at `root`, or there are no names.
        ValueError: There are no such folders.
    """

    def __init__(
        self,
        root: str | Path,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        names: str | Path | None = None,
        template: str = '{}',
    ) -> None:
        root, reading = Path(root), new_report()
        if not root.is_dir():
            raise MissingFileError(f'no folder at {root}')
        self._wanted = list(as_several(corruptions, CORRUPTIONS))
        self._severities = {str(one) for one in as_several(severities)}
        self._met: set[str] = set()
        store = ImageStore(root)
        found = list(filter(self._take, picture_names(root, store)))
        if not found and (tars := sorted(root.glob('*.tar'))):
            store = ImageStore(tars)
            found = filter(self._take, store.names())
        super().__init__(
            store,
            by_folder(found),
            find_synsets(names, root, reading),
            template,
            reading,
            'fog/3/n01440764/picture.JPEG',
        )
        missing = [kind for kind in self._wanted if kind not in self._met]
        if missing:
            print_log(
                f'ImageNetC: {root} lacks {", ".join(missing)}; means are '
                f'over the other {len(self._met)} corruptions',
                logger='current',
                level=logging.WARNING,
            )

    def _take(self, name: str) -> bool:
        """Whether a picture is wanted; notes its corruption."""
        kind, _, severity = _corruption(name).partition('/')
        wanted = kind in self._wanted and severity in self._severities
        if wanted:
            self._met.add(kind)
        return wanted

    def group(self, index: int) -> str:
        """Corruption and severity of a picture, 'fog/3'."""
        return _corruption(self.key(index))

    def picture(self, index: int) -> str:
        """Class and file, which all corruptions of a picture share."""
        return _class_and_file(self.key(index))


def _corruption(name: str) -> str:
    """'fog/3' of '.../fog/3/n01440764/picture.JPEG'."""
    return '/'.join(name.split('/')[-4:-2])


def _class_and_file(name: str) -> str:
    return '/'.join(name.split('/')[-2:])
