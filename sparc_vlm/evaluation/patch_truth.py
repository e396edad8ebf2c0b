"""What is true of each patch and pixel, for probes that learn classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparc_vlm.evaluation.overlap import VOID, given_classes

BACKGROUND = 'background'


def majority(truth: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The class that most of the pixels under each patch have.

    Args:
        truth: (H, W) places of classes; negative is void, and not counted.
        grid: Rows and columns of the patches.

    Returns:
        (rows * columns,) places; `VOID` where all is void. Of classes with
        as many pixels, the first.
    """
    rows, columns = (
        ((np.arange(pixels) + 0.5) * patches / pixels).astype(int)
        for patches, pixels in zip(grid, truth.shape, strict=True)
    )
    owners = rows[:, None] * grid[1] + columns
    known = truth >= 0
    shown, places = np.unique(truth[known], return_inverse=True)
    if not len(shown):
        return np.full(grid[0] * grid[1], VOID)
    cells = owners[known] * len(shown) + places
    counts = np.bincount(cells, minlength=grid[0] * grid[1] * len(shown))
    counts = counts.reshape(-1, len(shown))
    return np.where(counts.any(1), shown[counts.argmax(1)], VOID)


@dataclass
class Truths:
    """Maps of pictures, among classes that training pictures are asked for.

    Attributes:
        classes: Place of each class; the background is one.
        unreadable: Why the segments of a picture could not be read.
        unknown: Names met afterwards that are no class.
    """

    classes: dict[str, int] = field(default_factory=lambda: {BACKGROUND: 0})
    unreadable: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)

    def read(self, source: Any, index: int, grow: bool) -> np.ndarray | None:
        """(H, W) places among the classes, 0 the background.

        Args:
            source: Has `segments`.
            index: Of the picture.
            grow: Whether names not met before become classes; else their
                pixels are void.

        Returns:
            None, and the reason in `unreadable`, if it cannot be read.
        """
        # Whatever a damaged annotation makes its reader raise.
        try:
            labels, names = source.segments(index)
            shown, truth = given_classes(np.asarray(labels), list(names))
        except Exception as error:
            self.unreadable.append(f'{source.key(index)}: {error}')
            return None
        if grow:
            for name in shown:
                self.classes.setdefault(name, len(self.classes))
        self.unknown.update(set(shown) - set(self.classes))
        places = [self.classes.get(name, VOID) for name in shown]
        # after the shown ones: void, and background, as -2 and -1 find them
        return np.array([*places, VOID, 0])[truth]
