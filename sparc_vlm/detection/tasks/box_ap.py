"""Average precision of boxes, and of masks, as COCO has it."""

from __future__ import annotations

from typing import Any

from sparc_vlm.detection.scoring import score_coco
from sparc_vlm.detection.tasks.detection_task import (
    DetectionResult,
    DetectionTask,
)
from sparc_vlm.evaluation.task import Progress
from sparc_vlm.registry import TASKS


@TASKS.register_module()
class BoxAP(DetectionTask):
    """AP of COCO, by pycocotools, in percent.

    'ap' is the mean over classes and over overlaps of 0.5, 0.55 ... 0.95,
    'ap50' and 'ap75' are at one of these, 'ap_small', 'ap_medium' and
    'ap_large' of objects of such a size. With `masks` the same of masks,
    under 'mask_ap' .... A number of which no object is there is left out. A
    class without an object counts in none.

    A detector by words is asked for the names of all classes at once.

    Samples: see `DetectionTask.find_and_score`.

    Args: as `DetectionTask`.
    """

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
        """
        return self.find_and_score(
            model, score_coco, self.source.truth, {}, progress
        )
