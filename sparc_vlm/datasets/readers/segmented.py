"""Pictures with a class for each pixel, however a data set stores it.

Readers give the numbers of the whole data set's classes; here they become
the segments that tasks ask a picture for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import numpy as np

from sparc_vlm.datasets.readers.listed import Images, StoredPictures
from sparc_vlm.datasets.report import Report
from sparc_vlm.datasets.store import ImageStore
from sparc_vlm.errors import UsageError

# The label of pixels that nothing is said of, and nothing is scored at.
VOID = -1


class SegmentedPictures(StoredPictures):
    """Pictures of a store with maps of their classes, and no captions.

    Args:
        images: Folder, zip or tar of the pictures, or their store.
        names: Name of each picture.
        classes: Names of all classes.
        reading: What was counted while the names were read.

    Attributes:
        classes: The names, fit for a prompt.
    """

    def __init__(
        self,
        images: Images | ImageStore,
        names: Iterable[str],
        classes: list[str],
        reading: Report,
    ) -> None:
        super().__init__(images, names, reading)
        self.classes = classes

    def captions(self, index: int) -> list[str]:
        """None: only a picture's map says what it shows."""
        return []

    @abstractmethod
    def labels(self, index: int) -> np.ndarray:
        """Classes by their numbers in the whole data set.

        Args:
            index: Which picture.

        Returns:
            (H, W) integers: 0 = background, k = classes[k - 1], `VOID`.

        Raises:
            UserError: They cannot be read.
        """

    def segments(self, index: int) -> tuple[np.ndarray, list[str]]:
        """Which class each pixel shows.

        Args:
            index: Which picture.

        Returns:
            (H, W) int64: 0 = background, k = names[k - 1], -1 where nothing
            is said; and the names of the classes that the picture shows.

        Raises:
            UserError: The map cannot be read, or has a class too many.
        """
        return name_shown(self.labels(index), self.classes)


def name_shown(
    labels: np.ndarray, classes: list[str]
) -> tuple[np.ndarray, list[str]]:
    """A map of one picture, with the names of what it shows.

    Args:
        labels: (H, W) integers: 0 = background, k = classes[k - 1], or
            negative.
        classes: Names of all classes.

    Returns:
        (H, W) int64 likewise, of the names; and the names, those that some
        pixel has, in the order of `classes`.

    Raises:
        ValueError: A number above that of the classes.
    """
    if labels.max(initial=0) > len(classes):
        raise UsageError(
            f'a pixel is of class {labels.max()}, and there are {len(classes)}'
        )
    shown = np.unique(labels[labels > 0])
    table = np.zeros(len(classes) + 1, np.int64)
    table[shown] = np.arange(1, len(shown) + 1)
    names = [classes[number - 1] for number in shown.tolist()]
    return np.where(labels < 0, VOID, table[labels.clip(0)]), names
