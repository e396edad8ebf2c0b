"""COCO's AP of boxes and masks, for files that lack an outline here and there.

pycocotools wants one of every object, also of a crowd, which many files give
a box only; without it, measuring would end in an error, after training.
"""

from __future__ import annotations

from typing import Any

from mmdet.evaluation import CocoMetric

from sparc_vlm.detection.boxes import corners
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import METRICS


@METRICS.register_module()
class OutlineMetric(CocoMetric):
    """MMDetection's `CocoMetric`, where an object may have a box alone.

    Of masks, such an object has the box as its outline.

    Args:
        ann_file: In COCO's layout; None: what the test data hand on, which
            is not made whole.
        **kwargs: Further arguments of MMDetection's `CocoMetric`.

    Raises:
        ValueError: Masks are to be measured, and no object has an outline.
    """

    def __init__(self, ann_file: str | None = None, **kwargs: Any) -> None:
        super().__init__(ann_file, **kwargs)
        if self._coco_api is None or 'segm' not in self.metrics:
            return
        rows = self._coco_api.dataset['annotations']
        if rows and not any(row.get('segmentation') for row in rows):
            raise UsageError(
                f'{ann_file} has boxes only, and masks are to be '
                "measured: leave 'segm' out of the metric"
            )
        for row in rows:
            if not row.get('segmentation'):
                x, y, width, height = row['bbox']
                row['segmentation'] = corners(x, y, x + width, y + height)
