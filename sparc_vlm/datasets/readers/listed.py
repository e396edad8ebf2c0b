"""What all sources of stored pictures share: names, captions, a store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from sparc_vlm.datasets.pairs import PairSource
from sparc_vlm.datasets.report import Report, note
from sparc_vlm.datasets.store import ImageStore, is_image
from sparc_vlm.datasets.text import PackedLists, PackedStrings

# Pictures looked for before the workers start.
LOOK_FOR = 50
Images = str | Path | list[str]


class StoredPictures(PairSource):
    """Pictures of a store, by name.

    Args:
        images: Folder, zip or tar of the pictures, or several.
        names: Name of each picture; gone through once.
        reading: What was counted while the names were read.
    """

    def __init__(
        self,
        images: Images | ImageStore,
        names: Iterable[str],
        reading: Report,
    ) -> None:
        super().__init__()
        self.reading = reading
        is_open = isinstance(images, ImageStore)
        self.store = images if is_open else ImageStore(images)
        self._names = PackedStrings(names)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Looks for some pictures here, which walks the folder if need be.

        Workers inherit what was found; else each would walk it by itself.
        """
        step = max(len(self) // LOOK_FOR, 1)
        for index in range(0, len(self), step):
            if self.key(index) not in self.store:
                return

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._names)

    def key(self, index: int) -> str:
        """The picture's name in the annotations."""
        return self._names[index]

    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """The picture in RGB.

        Args:
            index: Which one.
            at_least: A side in pixels that is enough.

        Raises:
            BrokenImage: It is not there, or cannot be read.
        """
        return self.store.image(self.key(index), at_least)

    def file(self, index: int) -> tuple[str, bytes]:
        """The picture's ending and its bytes, as they are stored.

        Args:
            index: Which one.

        Raises:
            BrokenImage: It is not there, or cannot be read.
        """
        name = self.key(index)
        # What is in the bytes decides how they are read, not the ending.
        suffix = name.rpartition('.')[2].lower() if is_image(name) else 'jpg'
        return suffix, self.store.read(name)


class ListedPairs(StoredPictures):
    """Pictures of a store, with the captions listed for them.

    Args:
        images: Folder, zip or tar of the pictures, or several.
        entries: (name of the picture, its captions) of each.
        reading: What was counted while the entries were read.
    """

    def __init__(
        self,
        images: Images,
        entries: Iterable[tuple[str, list[str]]],
        reading: Report,
    ) -> None:
        captions: list[list[str]] = []

        def names() -> Iterable[str]:
            for name, texts in entries:
                captions.append(texts)
                yield name

        super().__init__(images, names(), reading)
        self._captions = PackedLists(captions)

    def captions(self, index: int) -> list[str]:
        """All captions of the picture."""
        return self._captions[index]


def as_caption(value: object, where: str, reading: Report) -> str:
    """A caption as text; anything else counts as a skipped row.

    Args:
        value: What the annotations have.
        where: Where it stands, for the report.
        reading: Counts it.

    Returns:
        The text, or '' where there is none.
    """
    if isinstance(value, str):
        return ' '.join(value.split())
    note(reading, 'skipped_rows', f'{where}: the caption is no text')
    return ''
