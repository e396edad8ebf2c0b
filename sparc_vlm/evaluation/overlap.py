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


def among_all(
    shown: list[str], truth: np.ndarray, classes: list[str]
) -> np.ndarray:
    """A picture's map with places among all classes of the dataset.

    Args:
        shown: The classes of the picture.
        truth: (H, W) places among them, as `given_classes` returns it.
        classes: All classes.

    Returns:
        (H, W) places among `classes`, `BACKGROUND` or `VOID`.

    Raises:
        ValueError: The picture shows a class that is not among them.
    """
    places = {name: place for place, name in enumerate(classes)}
    strange = [name for name in shown if name not in places]
    if strange:
        raise UsageError(
            f'{strange[0]!r} is not among the {len(classes)} classes of the '
            'dataset'
        )
    table = np.array([places[name] for name in shown], int)
    return np.where(truth >= 0, table[truth.clip(0)], truth)


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
    shown: set[str] = field(default_factory=set)
    picture_means: list[float] = field(default_factory=list)
    last: dict[str, list[int]] = field(default_factory=dict)
    """Pixels in the intersection and in the union of each class that has
    any, of the picture that was added last."""

    def add(
        self, predicted: np.ndarray, truth: np.ndarray, classes: list[str]
    ) -> dict[str, float]:
        """Adds a picture.

        Args:
            predicted: (H, W) place of each pixel's class among `classes`.
            truth: (H, W) places among `classes`, `BACKGROUND` or `VOID`.
            classes: The C classes that a pixel may be given; one that the
                picture shows, or more.

        Returns:
            The picture's own IoU of each class that it shows, between 0 and
            1. A class given to it that it does not show has none here, but
            counts against that class over all pictures.
        """
        least = BACKGROUND if self.count_background else 0
        scored = truth >= least
        pairs = (truth[scored] + 1) * len(classes) + predicted[scored]
        size = len(classes) + 1
        table = np.bincount(pairs, minlength=size * len(classes))
        table = table.reshape(size, len(classes))
        inner, true = np.diagonal(table[1:]), table[1:].sum(1)
        union = true + table.sum(0) - inner
        both = zip(classes, inner.tolist(), union.tolist(), strict=True)
        self.last = {name: [i, u] for name, i, u in both if u}
        self.intersections.update({n: i for n, (i, _) in self.last.items()})
        self.unions.update({n: u for n, (_, u) in self.last.items()})
        own = {
            classes[place]: float(inner[place] / union[place])
            for place in true.nonzero()[0]
        }
        self.shown.update(own)
        self.picture_means.append(float(np.mean(list(own.values()))))
        return own

    @property
    def class_mean(self) -> float:
        """IoU of each class over all pictures, mean over classes, percent.

        The classes are those that some picture shows.
        """
        ious = [
            self.intersections[name] / self.unions[name]
            for name in sorted(self.shown)
        ]
        return 100 * float(np.mean(ious))

    @property
    def picture_mean(self) -> float:
        """Mean over pictures of their mean over their classes, percent."""
        return 100 * float(np.mean(self.picture_means))
