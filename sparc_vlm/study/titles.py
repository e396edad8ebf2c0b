"""What tables call tasks and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sparc_vlm.evaluation.pope import KINDS

HEADINGS = {
    'Retrieval': 'Zero-shot retrieval, R@K',
    'Segmentation': 'Zero-shot segmentation, mean IoU',
    'Pointing': 'Pointing game on the words of captions',
    'Grounding': 'Grounding of phrases',
    'Foils': 'Captions against foils',
    'KPrecision': 'Faithfulness of the caption retrieved first',
    'Classification': 'Zero-shot classification, top-1',
    'BoxAP': 'Detection, average precision',
    'WordAP': 'Detection, average precision by groups of classes',
}
AVERAGE_PRECISION = {
    f'{start}ap{key}': f'{kind}AP{title}'
    for start, kind in (('', ''), ('mask_', 'mask '))
    for key, title in (
        ('', ''),
        ('50', '50'),
        ('75', '75'),
        ('_rare', ' rare'),
        ('_common', ' common'),
        ('_frequent', ' frequent'),
        ('_small', ' small'),
        ('_medium', ' medium'),
        ('_large', ' large'),
    )
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
    'Foils': {
        'accuracy': 'all, whole',
        'accuracy_best_patch': 'all, best patch',
        'accuracy_aligned': 'all, aligned',
    },
    'Grounding': {
        'pointing': 'pointing',
        'pointing_last': 'pointing, last token',
        'pointing_text': 'pointing, phrase as a text',
        'pointing_centre': 'pointing at the centre',
        'recall': 'recall',
        'recall_last': 'recall, last token',
        'recall_text': 'recall, phrase as a text',
        'recall_merged': 'recall, boxes merged',
        'recall_merged_last': 'recall, boxes merged, last token',
        'recall_merged_text': 'recall, boxes merged, phrase as a text',
    },
    'KPrecision': {'k_p': 'K-P', 'k_pna': 'K-Pna'},
    'Captioning': {
        'cider': 'CIDEr',
        'cider_elsewhere': 'CIDEr, of the next picture',
        'bleu_4': 'BLEU-4',
        'k_p': 'K-P',
        'k_p_elsewhere': 'K-P, of the next picture',
        'k_pna': 'K-Pna',
        'chair_i': 'CHAIR-i',
        'chair_s': 'CHAIR-s',
        'object_recall': 'object recall',
        'false_captions': 'false captions',
        'false_objects': 'false objects',
        'false_attributes': 'false attributes',
        'false_background': 'false background',
        'false_relations': 'false relations',
        'missed_objects': 'missed objects',
        'missed_attributes': 'missed attributes',
        'missed_relations': 'missed relations',
        'silent_captions': 'silent captions',
        'words': 'words',
        'captioned': 'captioned',
    },
    'BoxAP': AVERAGE_PRECISION,
    'WordAP': AVERAGE_PRECISION,
}
"""Titles by the type of the task and the metric. Tables that compare models
show these, in this order; of a task that is not here, all metrics."""
FEWER = {
    'Captioning': (
        *('chair_i', 'chair_s', 'false_captions', 'false_objects'),
        *('false_attributes', 'false_background', 'false_relations'),
        *('missed_objects', 'missed_attributes', 'missed_relations'),
        'silent_captions',
    )
}
"""Metrics by the type of the task of which the lowest is the best."""
NEITHER = {
    'Captioning': ('cider_elsewhere', 'k_p_elsewhere', 'words', 'captioned'),
    'Grounding': ('pointing_centre',),
    'POPE': tuple(f'{kind}_yes' for kind in KINDS),
}
"""Metrics that no model is better by."""
PARTS = {
    'Foils': ('accuracy/',),
    'Retrieval': ('fold_', 'i2t_r', 't2i_r'),
}
"""How metrics begin that such tables show as well, after those."""


def title_of(kind: str, metric: str) -> str:
    """What tables call a metric.

    Args:
        kind: Type of the task.
        metric: Its name.
    """
    plain = metric.removeprefix('accuracy/').replace('_', ' ')
    return MEASURES.get(kind, {}).get(metric, plain)


def best_of(kind: str, metric: str) -> Callable[..., float] | None:
    """What picks the best value of a metric: `max`, `min`, or None.

    Args:
        kind: Type of the task.
        metric: Its name.
    """
    if metric in NEITHER.get(kind, ()):
        return None
    return min if metric in FEWER.get(kind, ()) else max


def compared(kind: str, metrics: Iterable[str]) -> list[str]:
    """The metrics that tables of several models show, in their order.

    Args:
        kind: Type of the task.
        metrics: What it found.
    """
    there = list(metrics)
    if kind not in MEASURES:
        return there
    chosen = [metric for metric in MEASURES[kind] if metric in there]
    others = [metric for metric in there if metric not in chosen]
    parts = PARTS.get(kind, ())
    return chosen + [m for m in others if m.startswith(parts)]


def heading(kind: str, task: str) -> str:
    """What a table of a task is headed with.

    Args:
        kind: Type of the task.
        task: Its name; said where it is not the type's own.
    """
    said = HEADINGS.get(kind, kind)
    is_plain = task.replace('_', '') == kind.lower()
    return said if is_plain else f'{said}: {task}'
