"""What tasks on labelled pictures share: their classes, and their numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.ranking import TIE, Ranks
from sparc_vlm.evaluation.task import TaskResult


@dataclass(frozen=True)
class ClassResult(TaskResult):
    """What a task on labelled pictures found.

    Attributes:
        per_class: Of each class that has a picture, in percent.
        settings: What the task has chosen by itself, such as how strongly a
            probe is held back.
    """

    per_class: dict[str, float] = field(default_factory=dict)
    settings: dict[str, float] = field(default_factory=dict)


def need_classes(source: Any, task: str) -> list[str]:
    """Names of a source's classes.

    Raises:
        ValueError: The source has no labels, too few classes, or a class
            without a name.
    """
    if not hasattr(source, 'label') or not hasattr(source, 'classes'):
        raise UsageError(
            f'{task}: {type(source).__name__} has no classes; take a dataset '
            'of labelled pictures'
        )
    classes = list(source.classes)
    if len(classes) < 2:
        raise UsageError(
            f'{task}: the dataset has {len(classes)} classes, and there is '
            'nothing to choose'
        )
    if not all(name.strip() for name in classes):
        place = [bool(name.strip()) for name in classes].index(False)
        raise UsageError(f'{task}: class {place} of the dataset has no name')
    return classes


def distinct(classes: Sequence[str]) -> list[str]:
    """Names to show: one that several classes have gets its place added."""
    count = Counter(classes)
    return [
        f'{name} ({place})' if count[name] > 1 else name
        for place, name in enumerate(classes)
    ]


def rank_labels(scores: Tensor, labels: Tensor) -> Ranks:
    """Where the right class of each picture stands.

    Args:
        scores: (B, C), the higher the likelier; nearer than `TIE` is a tie.
        labels: (B,) place of each one's right class.
    """
    right = scores.gather(1, labels[:, None])
    above = (scores > right + TIE).sum(1)
    near = (scores >= right - TIE).sum(1)
    ones = torch.ones_like(labels)
    # The right class is as near to itself as can be.
    return Ranks(above, near - above - 1, ones, scores.argmax(1))


def class_samples(
    source: Any,
    indices: Sequence[int],
    labels: Tensor,
    ranks: Ranks,
    names: Sequence[str],
    ks: Sequence[int],
) -> list[dict[str, Any]]:
    """One dict a picture: what it shows, and what it was taken for.

    Args:
        source: Where the pictures come from.
        indices: B of them.
        labels: (B,) places of their classes.
        ranks: Where these stand.
        names: The classes, as `distinct` names them.
        ks: The k of top-k.
    """
    hits = {f'top{k}': ranks.recall(k).tolist() for k in ks}
    top, expected = ranks.top.tolist(), ranks.expected.tolist()
    samples = []
    for row, index in enumerate(indices):
        sample = {
            'key': source.key(index),
            'label': names[int(labels[row])],
            'predicted': names[top[row]],
            'rank': expected[row],
            **{key: values[row] for key, values in hits.items()},
        }
        if hasattr(source, 'group') and source.group(index):
            sample['group'] = source.group(index)
        if hasattr(source, 'picture'):
            sample['picture'] = source.picture(index)
        samples.append(sample)
    return samples


def class_metrics(
    samples: list[dict[str, Any]], ks: Sequence[int]
) -> dict[str, float]:
    """Metrics of some pictures, in percent.

    Args:
        samples: As `class_samples` returns them, at least one.
        ks: The k of top-k.

    Returns:
        'top1' ..., and 'top1_class_mean', the mean over classes of their
        own. Where samples have a `group`, 'top1/GROUP' ... as well, for each
        group and, of groups such as fog/3, for fog, the mean over these; and
        'top1' ... are means over the groups.
    """
    whole = _means(samples, ks)
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for sample in samples:
        if 'group' in sample:
            groups[sample['group']].append(sample)
    if not groups:
        return whole
    leaves = {name: _means(own, ks) for name, own in groups.items()}
    tree = {'': list(leaves.values())}
    for name, means in leaves.items():
        parts = name.split('/')
        for depth in range(1, len(parts) + 1):
            tree.setdefault('/'.join(parts[:depth]), []).append(means)
    return {
        f'{key}/{name}' if name else key: sum(m[key] for m in own) / len(own)
        for name, own in tree.items()
        for key in (whole if not name else [f'top{k}' for k in ks])
    }


def per_class(samples: list[dict[str, Any]], key: str) -> dict[str, float]:
    """Mean of what the samples of each class have under a key, percent."""
    own: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        own[sample['label']].append(sample[key])
    return {name: 100 * sum(v) / len(v) for name, v in sorted(own.items())}


def guessing(metrics: dict[str, float], classes: int) -> dict[str, float]:
    """What a random order of the classes scores, in percent.

    Args:
        metrics: 'top5', 'top1_class_mean', 'top1/fog' ...
        classes: How many there are.
    """
    chance = {}
    for key in metrics:
        k = int(key.removeprefix('top').split('_')[0].split('/')[0])
        chance[key] = 100 * min(k / classes, 1.0)
    return chance


def _means(
    samples: list[dict[str, Any]], ks: Sequence[int]
) -> dict[str, float]:
    """Metrics of one group."""
    means = {
        f'top{k}': 100 * sum(s[f'top{k}'] for s in samples) / len(samples)
        for k in ks
    }
    first = f'top{ks[0]}'
    classes = per_class(samples, first).values()
    return {**means, f'{first}_class_mean': sum(classes) / len(classes)}
