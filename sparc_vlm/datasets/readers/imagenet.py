"""ImageNet, and test sets in class folders called by its WordNet ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from sparc_vlm.datasets.readers.ground_truth import find_truth
from sparc_vlm.datasets.readers.labelled import (
    LabelledPictures,
    pack_labels,
    picture_names,
)
from sparc_vlm.datasets.readers.synsets import WNID, Synsets, find_synsets
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.store import ImageStore
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import DATASETS

Entries = Iterable[tuple[str, str]]


class WnidPictures(LabelledPictures):
    """Pictures whose classes have WordNet ids.

    Args:
        store: Where the pictures are.
        entries: (name, WordNet id) of each.
        synsets: The names of the classes.
        template: Wording of the caption.
        reading: What was counted.
        needs: What was looked for, for the error if there is nothing.

    Attributes:
        classes: Names of the classes that there are, in the order of `wnids`.
        wnids: Their WordNet ids, sorted.
    """

    def __init__(
        self,
        store: ImageStore,
        entries: Entries,
        synsets: Synsets,
        template: str,
        reading: Report,
        needs: str,
    ) -> None:
        labelling = pack_labels(entries)
        if not labelling.classes:
            raise UsageError(f'{store.path} has no pictures: expected {needs}')
        classes = [synsets.name(wnid) for wnid in labelling.classes]
        super().__init__(store, labelling, classes, template, reading)
        self.wnids = labelling.classes


def by_folder(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(name, WordNet id) of pictures in folders that are called by one."""
    for name in names:
        folder = name.split('/')[-2] if '/' in name else ''
        if WNID.fullmatch(folder):
            yield name, folder


@DATASETS.register_module()
class ImageNetFolders(WnidPictures):
    """Class folders called by WordNet id: ImageNet-R, -A and -Sketch.

    The classes are those that have a folder: all 1000 of -Sketch, and the
    200 of -R or -A, among which alone a model then chooses, as their authors
    do.

    Args:
        root: Folder, zip or tar with the class folders in it.
        names: File with the names of the classes, see `find_synsets`; by
            default one of a usual name in `root` or above it.
        template: Wording of the caption.

    Raises:
        FileNotFoundError: Nothing is at `root`, or there are no names.
        ValueError: There are no such folders, or one has no name.
    """

    def __init__(
        self,
        root: str | Path,
        names: str | Path | None = None,
        template: str = '{}',
    ) -> None:
        store, reading = ImageStore(root), new_report()
        super().__init__(
            store,
            by_folder(picture_names(root, store)),
            find_synsets(names, Path(root), reading),
            template,
            reading,
            'n01440764/picture.JPEG',
        )


@DATASETS.register_module()
class ImageNet(WnidPictures):
    """ImageNet (ILSVRC 2012), validation or training pictures.

    The pictures of a split lie in class folders called by WordNet id, or, of
    'val', in one flat folder or in the official tar, with a ground truth
    beside.

    Args:
        root: Folder with `val` in it, or Kaggle's ILSVRC/Data/CLS-LOC/val, or
            ILSVRC2012_img_val.tar; or the pictures' own folder or archive.
        split: 'val' or 'train'.
        names: File with the names of the classes, see `find_synsets`; by
            default one of a usual name in `root` or above it.
        truth: Ground truth of a flat folder, see `find_truth`; by default
            one of a usual name in `root` or above it.
        template: Wording of the caption.

    Raises:
        FileNotFoundError: Nothing is at `root`, or there are no names, or no
            ground truth where it is needed.
        ValueError: An unknown split; no pictures; a class without a name.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = 'val',
        names: str | Path | None = None,
        truth: str | Path | None = None,
        template: str = '{}',
    ) -> None:
        if split not in ('val', 'train'):
            raise UsageError(f"split is 'val' or 'train', not {split!r}")
        reading = new_report()
        images = _split_images(Path(root), split)
        store = ImageStore(images)
        synsets = find_synsets(names, Path(root), reading)
        first = next(by_folder(picture_names(images, store)), None)
        found = picture_names(images, store)
        if first is not None or split == 'train':
            entries = by_folder(found)
        else:
            truths = find_truth(truth, Path(root), synsets, reading)
            entries = _by_truth(found, truths, reading)
        super().__init__(
            store, entries, synsets, template, reading, 'n01440764/x.JPEG'
        )


def _split_images(root: Path, split: str) -> Path:
    """Where the pictures of a split are."""
    places = [
        f'{split}',
        f'ILSVRC/Data/CLS-LOC/{split}',
        f'Data/CLS-LOC/{split}',
        f'ILSVRC2012_img_{split}',
        f'{split}.zip',
        f'{split}.tar',
    ]
    if split == 'val':
        # The official training tar holds tars, one a class.
        places.append('ILSVRC2012_img_val.tar')
    there = (root / place for place in places if (root / place).exists())
    return next(there, root)


def _by_truth(
    names: Iterable[str], truths: dict[str, str], reading: Report
) -> Iterator[tuple[str, str]]:
    """(name, WordNet id) of pictures that the ground truth knows."""
    for name in names:
        wnid = truths.get(Path(name).stem)
        if wnid is None:
            note(reading, 'skipped_rows', f'{name}: not in the ground truth')
        else:
            yield name, wnid
