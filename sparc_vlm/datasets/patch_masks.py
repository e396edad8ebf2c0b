"""Where the words of a caption may look, from boxes or segments of the data.

A word that names an object may look at the patches that show it, every other
word anywhere. What is known of a picture follows it through crop and flip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.naming import named_objects

if TYPE_CHECKING:
    from sparc_vlm.datasets.pairs import PairSource

Kind = Literal['boxes', 'segments']
KINDS = ('boxes', 'segments')
# Pictures tried before the source is said to have none of the kind.
TRIES = 20

Objects = dict[str, np.ndarray]
"""(rows, columns) bool for each name: the patches that show such objects."""


class View(NamedTuple):
    """The part of a picture that the model is shown.

    Attributes:
        box: Left, top, right, bottom in pixels of the picture.
        size: Width and height of the picture.
        flipped: Whether the part is mirrored afterwards.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    flipped: bool = False


class PatchMasks:
    """Makes a patch mask of what a source knows about a picture.

    Args:
        kind: 'boxes' or 'segments', which the source must have. A patch
            shows an object if the object's box reaches into it, or if one of
            the pixels shown to the model is the object's.
        image_size: Side of the pictures in pixels, as the model sees them.
        patch_size: Side of a patch in pixels.

    Raises:
        ValueError: Another kind, or patches that do not tile the picture.
    """

    def __init__(
        self, kind: Kind, image_size: int, patch_size: int | None
    ) -> None:
        if kind not in KINDS:
            raise UsageError(
                f"patch_masks must be 'boxes', 'segments' or None, got "
                f'{kind!r}'
            )
        if not patch_size or patch_size < 1 or image_size % patch_size:
            raise UsageError(
                f'patch_masks needs the patch_size of the image encoder, of '
                f'which image_size={image_size} is a multiple, got '
                f'{patch_size}'
            )
        self.kind = kind
        self.image_size = image_size
        self.grid = image_size // patch_size

    def check(self, source: PairSource) -> None:
        """Makes sure that a source knows what is asked of it.

        Reads the source's annotations, so that workers inherit them.

        Args:
            source: Where pictures come from.

        Raises:
            ValueError: It has no boxes or segments, or those of the first
                pictures looked at cannot be read.
        """
        if not hasattr(source, self.kind):
            raise UsageError(
                f'patch_masks={self.kind!r}: {type(source).__name__} has no '
                f'{self.kind}; use data that have them, or leave it out'
            )
        step = max(len(source) // TRIES, 1)
        problem = None
        for index in range(0, len(source), step):
            try:
                getattr(source, self.kind)(index)
                return
            except ValueError as error:
                problem = error
        raise UsageError(f'patch_masks={self.kind!r}: {problem}')

    def objects(self, source: PairSource, index: int, view: View) -> Objects:
        """Patches of a picture's objects, by name.

        Args:
            source: Where the picture comes from.
            index: Which one.
            view: What is seen of it.

        Raises:
            ValueError: The annotations of the picture make no sense.
        """
        if self.kind == 'boxes':
            return self._of_boxes(source.boxes(index), view)
        return self._of_segments(*source.segments(index), view)

    def of_tokens(
        self,
        owners: Sequence[int | None],
        words: list[str],
        objects: Objects,
    ) -> Tensor:
        """(L, P) bool, the patches that each token may look at.

        Which object a word names is told as `naming.named_objects` tells it.
        A word whose object is out of view may look anywhere.

        Args:
            owners: For each of L tokens the place of its word, or None.
            words: The words of the caption.
            objects: What `objects` returned for the picture.
        """
        meant = named_objects(words, list(objects))
        mask = np.ones((len(owners), self.grid**2), bool)
        for place, word in enumerate(owners):
            if word in meant:
                seen = np.any([objects[name] for name in meant[word]], axis=0)
                if seen.any():
                    mask[place] = seen.reshape(-1)
        return torch.from_numpy(mask)

    def _of_boxes(
        self, boxes: Sequence[dict[str, Any]], view: View
    ) -> Objects:
        found: Objects = {}
        left, top, right, bottom = view.box
        edges = np.linspace(0, 1, self.grid + 1)
        columns = left + edges * (right - left)
        rows = top + edges * (bottom - top)
        for entry in boxes:
            x1, y1, x2, y2 = (float(value) for value in entry['box'])
            across = (columns[1:] > x1) & (columns[:-1] < x2)
            down = (rows[1:] > y1) & (rows[:-1] < y2)
            _add(found, entry['name'], down[:, None] & across, view)
        return found

    def _of_segments(
        self, labels: np.ndarray, names: list[str], view: View
    ) -> Objects:
        labels = np.asarray(labels)
        if labels.max(initial=0) > len(names):
            raise UsageError(
                f'segment {labels.max()} has no name among {len(names)}'
            )
        left, top, right, bottom = view.box
        width, height = view.size
        # The label under the middle of each pixel that the model is shown.
        middles = (np.arange(self.image_size) + 0.5) / self.image_size
        x = (left + middles * (right - left)) / width * labels.shape[1]
        y = (top + middles * (bottom - top)) / height * labels.shape[0]
        shown = labels[np.ix_(y.astype(int), x.astype(int))]
        side = self.image_size // self.grid
        tiles = shown.reshape(self.grid, side, self.grid, side)
        found: Objects = {}
        for number, name in enumerate(names, 1):
            _add(found, name, (tiles == number).any((1, 3)), view)
        return found


def _add(found: Objects, name: str, patches: np.ndarray, view: View) -> None:
    """Objects of one name count together."""
    if view.flipped:
        patches = patches[:, ::-1]
    found[name] = found.get(name, False) | patches
