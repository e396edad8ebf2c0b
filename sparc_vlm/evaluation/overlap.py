"""Intersection over union of predicted and true classes, added up.

Kept apart from the task that predicts, so that any way of labelling pixels
is scored alike.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from sparc_vlm.errors import UsageError

BACKGROUND = -1
VOID = -2


def given_classes(
    labels: np.ndarray, names: list[str]
) -> tuple[list[str], np.ndarray]:
    """The foreground classes that a picture shows, and their map.

    Names that repeat (two objects of one class) are one class, and a name
    without a pixel is not given.

    Args:
        labels: (H, W) integers: 0 is background, k is names[k-1], anything
            negative is void, which nothing scores.
        names: The names of the picture's segments.

    Returns:
        The C distinct names seen, in the order of `names`, and (H, W)
        integers: the place of the pixel's class among them, `BACKGROUND` or
        `VOID`.

    Raises:
        ValueError: A label has no name.
    """
    if labels.max(initial=0) > len(names):
        raise UsageError(
            f'label {labels.max()} has no name: the picture names '
            f'{len(names)} segments'
        )
    seen = set(np.unique(labels).tolist())
    shown = [name for k, name in enumerate(names, 1) if k in seen]
    classes = list(dict.fromkeys(shown))
    place = {name: index for index, name in enumerate(classes)}
    table = np.array([BACKGROUND, *(place.get(n, VOID) for n in names)])
    return classes, np.where(labels < 0, VOID, table[labels.clip(0)])


@dataclass
class Overlap:
    """IoU over foreground classes of a growing number of pictures.

    Args:
        count_background: Whether a class given to background pixels counts
            against it. True leaves nothing out: every patch must take a
            foreground class, so that even perfect classes score no more than
            the share of the picture that is foreground. False scores
            foreground pixels alone.
    """

    count_background: bool
    intersections: Counter[str] = field(default_factory=Counter)
    unions: Counter[str] = field(default_factory=Counter)
    picture_means: list[float] = field(default_factory=list)

    def add(
        self, predicted: np.ndarray, truth: np.ndarray, classes: list[str]
    ) -> dict[str, float]:
        """Adds a picture.

        Args:
            predicted: (H, W) place of each pixel's class among `classes`.
            truth: (H, W) as `given_classes` returns it.
            classes: The C classes of the picture, each with a pixel.

        Returns:
            The picture's own IoU of each class, between 0 and 1.
        """
        least = BACKGROUND if self.count_background else 0
        scored = truth >= least
        pairs = (truth[scored] + 1) * len(classes) + predicted[scored]
        size = len(classes) + 1
        table = np.bincount(pairs, minlength=size * len(classes))
        table = table.reshape(size, len(classes))
        inner = np.diagonal(table[1:])
        union = table[1:].sum(1) + table.sum(0) - inner
        self.intersections.update(
            dict(zip(classes, inner.tolist(), strict=True))
        )
        self.unions.update(dict(zip(classes, union.tolist(), strict=True)))
        ious = (inner / union).tolist()
        self.picture_means.append(float(np.mean(ious)))
        return dict(zip(classes, ious, strict=True))

    @property
    def class_mean(self) -> float:
        """IoU of each class over all pictures, mean over classes, percent."""
        ious = [self.intersections[c] / self.unions[c] for c in self.unions]
        return 100 * float(np.mean(ious))

    @property
    def picture_mean(self) -> float:
        """Mean over pictures of their mean over their classes, percent."""
        return 100 * float(np.mean(self.picture_means))
