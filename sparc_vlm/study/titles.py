"""What tables call tasks and metrics."""

from __future__ import annotations

HEADINGS = {
    'Retrieval': 'Zero-shot retrieval, R@K',
    'Segmentation': 'Zero-shot segmentation, mean IoU',
    'Pointing': 'Pointing game on the words of captions',
    'Grounding': 'Grounding of phrases',
    'Foils': 'Captions against foils',
    'KPrecision': 'Faithfulness of the caption retrieved first',
    'Classification': 'Zero-shot classification, top-1',
}
MEASURES = {
    'Retrieval': {
        f'{way}_r{k}': f'{name} R@{k}'
        for way, name in (('i2t', 'image to text'), ('t2i', 'text to image'))
        for k in (1, 5, 10)
    },
    'Segmentation': {
        'miou': 'mIoU',
        'miou_patches': 'mIoU, local patches',
        'miou_fg': 'foreground mIoU',
        'miou_fg_patches': 'foreground mIoU, local patches',
        'miou_image': 'per picture',
        'miou_image_patches': 'per picture, local patches',
        'miou_fg_image': 'foreground, per picture',
        'miou_fg_image_patches': 'foreground, per picture, local patches',
        'miou_all': 'all classes, mIoU',
        'miou_patches_all': 'all classes, mIoU, local patches',
        'miou_fg_all': 'all classes, foreground mIoU',
        'miou_fg_patches_all': 'all classes, foreground mIoU, local patches',
    },
    'Pointing': {
        'pointing': 'local patches',
        'pointing_dense': 'dense patches',
    },
}
"""Titles by the type of the task and the metric. Tables that compare models
show these, in this order; of a task that is not here, all metrics."""


def title_of(kind: str, metric: str) -> str:
    """What tables call a metric.

    Args:
        kind: Type of the task.
        metric: Its name.
    """
    plain = metric.replace('_', ' ')
    return MEASURES.get(kind, {}).get(metric, plain)


def heading(kind: str, task: str) -> str:
    """What a table of a task is headed with.

    Args:
        kind: Type of the task.
        task: Its name; said where it is not the type's own.
    """
    said = HEADINGS.get(kind, kind)
    is_plain = task.replace('_', '') == kind.lower()
    return said if is_plain else f'{said}: {task}'
