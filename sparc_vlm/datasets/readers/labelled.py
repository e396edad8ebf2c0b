"""Pictures with labels: class folders, and lists of labels.

Tasks that classify ask such a source for `classes`, names fit for a prompt,
and for `label(index)`, a place among them.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparc_vlm.datasets.readers.files import load_json
from sparc_vlm.datasets.readers.listed import Images, StoredPictures
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.store import ImageStore, is_image
from sparc_vlm.datasets.text import PackedStrings, read_text
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import DATASETS


class Labelling(NamedTuple):
    """Pictures and their classes, packed.

    Attributes:
        names: Name of each picture.
        labels: (N,) place of each one's class among `classes`.
        classes: The classes met, sorted.
    """

    names: PackedStrings
    labels: np.ndarray
    classes: list[str]


def pack_labels(entries: Iterable[tuple[str, str]]) -> Labelling:
    """Packs pictures with one class each.

    Args:
        entries: (name of the picture, its class) of each; gone through once.
    """
    met: dict[str, int] = {}
    labels = array('i')

    def names() -> Iterator[str]:
        for name, kind in entries:
            labels.append(met.setdefault(kind, len(met)))
            yield name

    packed = PackedStrings(names())
    classes = sorted(met)
    place = {kind: number for number, kind in enumerate(classes)}
    order = np.array([place[kind] for kind in met], dtype=np.int32)
    return Labelling(packed, order[np.array(labels, dtype=int)], classes)


def picture_names(root: str | Path, store: ImageStore) -> Iterator[str]:
    """Names of all pictures below a folder, or in an archive, in order.

    Nothing is kept, so that millions of files do no harm.

    Args:
        root: The folder or the archive.
        store: The store of `root`.
    """
    if not Path(root).is_dir():
        yield from store.names()
        return
    for folder, inner, files in os.walk(root, followlinks=True):
        inner.sort()
        below = Path(folder).relative_to(root).as_posix()
        start = '' if below == '.' else f'{below}/'
        yield from (start + file for file in sorted(filter(is_image, files)))


class LabelledPictures(StoredPictures):
    """Pictures of one class each; the caption is the class's name.

    Args:
        images: Folder, zip or tar of the pictures, or their store.
        labelling: The pictures and their classes.
        classes: A name for each class, in the order of `labelling`.
        template: Wording of the caption.
        reading: What was counted while the labels were read.

    Attributes:
        classes: The names, fit for a prompt; they may repeat.
    """

    def __init__(
        self,
        images: Images | ImageStore,
        labelling: Labelling,
        classes: list[str],
        template: str,
        reading: Report,
    ) -> None:
        super().__init__(images, labelling.names, reading)
        self.classes = classes
        self.template = template
        self._labels = labelling.labels

    def label(self, index: int) -> int:
        """Place of the picture's class among `classes`."""
        return int(self._labels[index])

    def captions(self, index: int) -> list[str]:
        """The name of the picture's class, in the template."""
        return [self.template.format(self.classes[self.label(index)])]


@DATASETS.register_module()
class ClassFolders(LabelledPictures):
    """Pictures in one folder a class; the caption is the class's name.

    Args:
        root: Folder, zip or tar with the class folders in it.
        template: Wording of the caption.
        names: From the name of a folder to words, where the folders are not
            called by words (ImageNet's n01440764): a dict, or a JSON file of
            one.

    Raises:
        FileNotFoundError: There is nothing at `root`.
        ValueError: There is no picture in a folder, or `names` is no such
            file.
    """

    def __init__(
        self,
        root: str | Path,
        template: str = '{}',
        names: dict[str, str] | str | None = None,
    ) -> None:
        reading = new_report()
        if isinstance(names, str):
            file, names = names, load_json(names, reading)
            if not isinstance(names, dict):
                raise UsageError(f'{file} is no JSON of folder: name')
        words = names or {}
        store = ImageStore(root)
        labelling = pack_labels(
            (path, path.split('/')[-2])
            for path in picture_names(root, store)
            if '/' in path
        )
        if not labelling.classes:
            raise UsageError(
                f'{root} has no pictures in class folders: expected '
                'class name/picture.jpg'
            )
        classes = [
            words.get(folder, folder.replace('_', ' '))
            for folder in labelling.classes
        ]
        super().__init__(store, labelling, classes, template, reading)


@DATASETS.register_module()
class LabelLists(StoredPictures):
    """Pictures with a list of labels; the caption is all of them in a row.

    As the paper does with JFT, whose pictures have several labels each.

    Args:
        path: JSON of {path: [labels]}, JSON lines of {"path", "labels"}, or
            a text table: path, tab, labels with tabs or commas between them.
        images: Folder, zip or tar of the pictures; the file's own folder by
            default.
        joint: What stands between the labels of a caption.

    Attributes:
        classes: All labels, in the order met.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The file has no labels in it.
    """

    def __init__(
        self,
        path: str | Path,
        images: Images | None = None,
        joint: str = ' ',
    ) -> None:
        reading = new_report()
        if not Path(path).is_file():
            raise MissingFileError(f'no labels at {path}: no such file')
        # A label as text would be kept once for each picture that has it.
        met: dict[str, int] = {}
        numbers, ends = array('i'), array('q', [0])

        def names() -> Iterator[str]:
            for name, labels in _labels(path, reading):
                words = (' '.join(label.split()) for label in labels)
                numbers.extend(
                    met.setdefault(word, len(met)) for word in words if word
                )
                ends.append(len(numbers))
                yield name

        packed = PackedStrings(names())
        if not len(packed):
            raise UsageError(f'{path} has no line of path, tab, labels')
        super().__init__(images or Path(path).parent, packed, reading)
        self.classes = list(met)
        self.joint = joint
        self._numbers, self._ends = np.array(numbers), np.array(ends)

    def _own(self, index: int) -> list[int]:
        """Places of a picture's labels among `classes`."""
        start, end = self._ends[index : index + 2]
        return self._numbers[start:end].tolist()

    def label(self, index: int) -> int:
        """Place of the one label among `classes`; -1 for none or several."""
        own = set(self._own(index))
        return own.pop() if len(own) == 1 else -1

    def captions(self, index: int) -> list[str]:
        """All labels of the picture, in a row."""
        return [self.joint.join(self.classes[n] for n in self._own(index))]


def _labels(
    path: str | Path, reading: Report
) -> Iterator[tuple[str, list[str]]]:
    """(path, labels) of each line or entry; what is neither is counted."""
    if str(path).endswith('.json'):
        content = load_json(path, reading)
        rows = content.items() if isinstance(content, dict) else []
    else:
        rows = enumerate(read_text(path, reading).splitlines(), 1)
    for place, row in rows:
        name, labels = place, row
        if isinstance(place, int):
            if not row.strip():
                continue
            name, labels = _parse_line(row)
        labels = [labels] if isinstance(labels, str) else labels
        good = isinstance(labels, list) and all(
            isinstance(label, str) for label in labels
        )
        if name and isinstance(name, str) and good:
            yield name, labels
        else:
            where = f'{path}, {place}'
            note(reading, 'skipped_rows', f'{where}: not path and labels')


def _parse_line(line: str) -> tuple[str | None, list[str] | None]:
    """Path and labels of a JSON or tab-separated line."""
    if line.lstrip().startswith('{'):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            return None, None
        return row.get('path'), row.get('labels')
    name, tab, rest = line.partition('\t')
    if not tab:
        return None, None
    labels = rest.split('\t' if '\t' in rest else ',')
    return name.strip(), labels
