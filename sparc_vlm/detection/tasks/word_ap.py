"""Average precision of rare, common and frequent classes, as LVIS has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparc_vlm.datasets.readers.listed import Images
from sparc_vlm.detection.scoring import FREQUENCIES, score_lvis
from sparc_vlm.detection.tasks.annotated import AnnotatedBoxes
from sparc_vlm.detection.tasks.detection_task import (
    DetectionResult,
    DetectionTask,
)
from sparc_vlm.engine.config_error import nearest
from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.task import Progress
from sparc_vlm.registry import TASKS


@TASKS.register_module()
class WordAP(DetectionTask):
    """AP of LVIS, by the lvis library, in percent.

    As `BoxAP`, with 'ap_rare', 'ap_common' and 'ap_frequent' of the classes
    of a group. In the open-vocabulary protocol the rare group is what was
    left out of training and is asked for by name.

    A detector by words is asked for the names of all classes at once. Where
    the file says what was looked for in vain on each picture (LVIS's
    `neg_category_ids`), a detection of what nobody looked for does not
    count; where it does not, all classes were looked for everywhere. Crowds
    are no objects, since lvis knows of none: their class is as in LVIS's
    `not_exhaustive_category_ids`, so that what is found of it on that picture
    beyond its objects does not count.

    Samples: see `DetectionTask.find_and_score`.

    Args:
        annotations: A file in LVIS's or COCO's layout.
        images: Folder, zip or tar of its pictures.
        rare: Names of the rare classes; those that are named neither here
            nor in `common` are frequent. None takes the `frequency` ('r',
            'c' or 'f') of the file's classes.
        common: Names of the common classes, where `rare` is given.
        name: The first part of the task's keys in a log.
        limit: Detections that are kept of a picture.
        **shared: The other arguments of `DetectionTask`.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The file is not in that layout, its classes have no
            frequency, a class that is named is not there or is named as
            both, or there are objects without masks where these are
            measured.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: Images,
        rare: Sequence[str] | None = None,
        common: Sequence[str] | None = None,
        name: str = 'word_ap',
        limit: int = 300,
        **shared: Any,
    ) -> None:
        super().__init__(annotations, images, name=name, limit=limit, **shared)
        if rare is None and common is None:
            self._letters = _own_letters(self.source, name)
        else:
            named = {'r': rare or (), 'c': common or ()}
            self._letters = _letters(self.source, named, name)
        self.groups = {
            group: [at for at, own in enumerate(self._letters) if own == key]
            for group, key in FREQUENCIES.items()
        }

    def run(
        self, model: Any, progress: Progress | None = None
    ) -> DetectionResult:
        """Measures a detector; see `Task.run`.

        Args:
            model: Has `detect`, `classes` and `takes_words`, as
                `LoadedDetector`.
            progress: As in `Task.run`.

        Raises:
            ValueError: As `DetectionTask.find_and_score`.
            MissingPackageError: lvis is not installed.
        """
        groups = {name: own for name, own in self.groups.items() if own}
        return self.find_and_score(
            model, score_lvis, self._judged, groups, progress
        )

    def _judged(self, indices: Sequence[int]) -> dict[str, Any]:
        """What there is, with all that lvis asks of a file."""
        truth = self.source.truth(indices)
        rows = zip(truth['categories'], self._letters, strict=True)
        everything = [row['id'] for row in truth['categories']]
        truth['categories'] = [{**r, 'frequency': own} for r, own in rows]
        crowds: dict[int, list[int]] = {}
        for row in truth['annotations']:
            if row['iscrowd']:
                own = crowds.setdefault(row['image_id'], [])
                own.append(row['category_id'])
        truth['annotations'] = [
            row for row in truth['annotations'] if not row['iscrowd']
        ]
        more = 'not_exhaustive_category_ids'
        truth['images'] = [
            {
                'neg_category_ids': everything,
                **row,
                more: [*row.get(more, ()), *crowds.get(row['id'], ())],
            }
            for row in truth['images']
        ]
        return truth


def _letters(
    source: AnnotatedBoxes, named: dict[str, Sequence[str]], task: str
) -> list[str]:
    """The frequency of each class, where some are named."""
    found: dict[str, str] = {}
    for letter, names in named.items():
        for name in names:
            if name not in source.classes:
                raise UsageError(
                    f'{task}: {source.path} has no class {name}'
                    f'{nearest(name, source.classes)}'
                )
            if found.setdefault(name, letter) != letter:
                raise UsageError(
                    f'{task}: {name} is named as rare and as common: it is '
                    'one of them'
                )
    return [found.get(name, 'f') for name in source.classes]


def _own_letters(source: AnnotatedBoxes, task: str) -> list[str]:
    """The frequency of each class, as LVIS writes it."""
    letters = [row.get('frequency') for row in source.categories]
    if not set(letters) <= set(FREQUENCIES.values()):
        raise UsageError(
            f"{task}: the classes of {source.path} have no frequency, 'r', "
            "'c' or 'f': name the rare ones, rare=[...]"
        )
    return letters
