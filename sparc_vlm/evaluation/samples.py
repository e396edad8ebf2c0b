"""A metric taken apart into what each sample scored, to draw samples anew.

Tasks write plain samples; what of them makes up a metric is found by trying,
and taken only where it gives the reported number back.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from sparc_vlm.evaluation.average_precision import (
    PrecisionScores,
    precision_scores,
)
from sparc_vlm.evaluation.bleu_scores import BleuScores
from sparc_vlm.evaluation.statistics import Scores

PART = '#'
"""Goes before a sample's number in its key where a picture has several."""
_NUMBERED = re.compile(rf'(.*){PART}\d+', re.DOTALL)
AnyScores = Scores | PrecisionScores | BleuScores


def scores_of(
    metric: str, results: list[dict[str, Any]]
) -> tuple[AnyScores, list[str]] | None:
    """A metric's scores, from what a task found at several seeds.

    A metric can be taken apart where each sample has a number under its name
    (others are not asked), and the mean of these gives the metric back: the
    plain one, or weighted by a whole number that the samples have, such as
    how many words were asked for. Samples may give shares and the metric
    percent. A mean IoU is taken apart where each sample has the metric's
    intersections and unions, a class each, under `pixels`; an average
    precision where each has what its detections were matched with; BLEU
    where each has its counts under `ngrams`.

    Args:
        metric: Name of the metric.
        results: `TaskResult.to_json()` of each seed, or read from a file.

    Returns:
        Scores in the metric's own unit and the samples' keys; samples that
        are not there at every seed are left out, and those of one picture
        (see `PART`; or they say which it is, under `picture`) are one, under
        its key, since they are drawn together.
        None where the metric cannot be taken apart.
    """
    tables = [_by_key(result['samples']) for result in results]
    keys = [key for key in tables[0] if all(key in t for t in tables[1:])]
    if keys and all(metric in t[keys[0]].get('pixels', {}) for t in tables):
        return _mean_iou(metric, results, tables, keys)
    if keys and 'groups' in results[0]:
        return _average_precision(metric, results, tables, keys)
    if keys and metric.startswith('bleu_') and 'ngrams' in tables[0][keys[0]]:
        order = int(metric.removeprefix('bleu_'))
        rows = [[table[key] for key in keys] for table in tables]
        scores = BleuScores.of_samples(order, rows)
        return _confirmed(metric, scores, results, tables, keys)
    weighing = _weighing(metric, results)
    if weighing is None:
        return None
    scale, field = weighing
    values, weights = [], []
    for table in tables:
        own = [table[key] for key in keys]
        values.append([scale * _number(s.get(metric)) for s in own])
        weights.append([_weight(s, metric, field) for s in own])
    if not keys or not np.sum(weights):
        return None
    own = [_picture(key, tables[0][key]) for key in keys]
    return _by_picture(np.array(values), np.array(weights), own)


def paired(
    metric: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> tuple[AnyScores, AnyScores] | None:
    """Scores of two models on the samples that both have.

    Args:
        metric: Name of the metric.
        ours: The task's results of one model, a seed each.
        theirs: Of the other.

    Returns:
        None where the metric cannot be taken apart, or no sample is shared.
    """
    found = [scores_of(metric, results) for results in (ours, theirs)]
    if None in found:
        return None
    (first, keys), (second, others) = found
    place = {key: at for at, key in enumerate(others)}
    shared = [key for key in keys if key in place]
    if not shared:
        return None
    at = {key: number for number, key in enumerate(keys)}
    mine = [at[key] for key in shared]
    their = [place[key] for key in shared]
    return first.at(mine), second.at(their)


def _picture(key: str, sample: dict[str, Any]) -> str:
    """Which picture a sample is of."""
    if 'picture' in sample:
        return str(sample['picture'])
    numbered = _NUMBERED.fullmatch(key)
    return numbered[1] if numbered else key


def _by_picture(
    values: np.ndarray, weights: np.ndarray, own: list[str]
) -> tuple[Scores, list[str]]:
    """Scores of pictures: the weighted means of their samples.

    Samples of one picture are right or wrong together; drawn one by one, they
    would make an interval too narrow.
    """
    pictures = list(dict.fromkeys(own))
    if len(pictures) == len(own):
        return Scores(values, weights), pictures
    place = {key: number for number, key in enumerate(pictures)}
    column = np.array([place[key] for key in own])
    sums = np.zeros((2, len(values), len(pictures)))
    counted = np.where(weights > 0, values * weights, 0.0)
    np.add.at(sums[0], (slice(None), column), counted)
    np.add.at(sums[1], (slice(None), column), weights)
    total, weight = sums
    return Scores(total / np.where(weight > 0, weight, 1), weight), pictures


def _mean_iou(
    metric: str,
    results: list[dict[str, Any]],
    tables: list[dict[str, dict[str, Any]]],
    keys: list[str],
) -> tuple[Scores, list[str]] | None:
    """Scores of classes: IoUs in percent, weighted by their unions."""
    shown = {
        name
        for table in tables
        for sample in table.values()
        for name in sample['classes']
    }
    place = {name: number for number, name in enumerate(sorted(shown))}
    pixels = np.zeros((2, len(tables), len(keys), len(place)))
    for seed, table in enumerate(tables):
        for row, key in enumerate(keys):
            for name, both in table[key]['pixels'][metric].items():
                if name in place:
                    pixels[:, seed, row, place[name]] = both
    inner, union = pixels
    # That a model finds a class where there is none does not make it shown.
    is_shown = np.array(
        [[name in tables[0][key]['classes'] for name in place] for key in keys]
    )
    ious = 100 * inner / np.maximum(union, 1)
    scores = Scores(ious, union, shown=is_shown)
    return _confirmed(metric, scores, results, tables, keys)


def _average_precision(
    metric: str,
    results: list[dict[str, Any]],
    tables: list[dict[str, dict[str, Any]]],
    keys: list[str],
) -> tuple[PrecisionScores, list[str]] | None:
    """Scores of pictures, from what was found on each."""
    pictures = [[table[key] for key in keys] for table in tables]
    scores = precision_scores(metric, results, pictures)
    return scores and _confirmed(metric, scores, results, tables, keys)


def _confirmed(
    metric: str,
    scores: AnyScores,
    results: list[dict[str, Any]],
    tables: list[dict[str, dict[str, Any]]],
    keys: list[str],
) -> tuple[AnyScores, list[str]] | None:
    """The scores, where they give the metric back."""
    found = scores.metrics(np.ones((1, len(keys))))[0]
    wanted = [result['metrics'].get(metric, np.nan) for result in results]
    # Of fewer samples than were measured it is another number.
    is_all = all(len(table) == len(keys) for table in tables)
    if is_all and not np.allclose(found, wanted, rtol=1e-4, atol=1e-4):
        return None
    return scores, keys


def _weighing(
    metric: str, results: list[dict[str, Any]]
) -> tuple[float, str | None] | None:
    """What samples are multiplied with and weighted by to give the metric."""
    fields = _whole_fields(results[0]['samples'])
    for field in (None, *fields):
        for scale in (1.0, 100.0):
            if all(_gives(metric, r, scale, field) for r in results):
                return scale, field
    return None


def _gives(
    metric: str, result: dict[str, Any], scale: float, field: str | None
) -> bool:
    """Whether the samples' mean, so weighted, is the metric."""
    total = weight = 0.0
    for sample in result['samples']:
        own = _weight(sample, metric, field)
        if own:
            total += own * scale * _number(sample[metric])
            weight += own
    wanted = result['metrics'].get(metric)
    if not weight or wanted is None:
        return False
    return bool(np.isclose(total / weight, wanted, rtol=1e-4, atol=1e-4))


def _whole_fields(samples: list[dict[str, Any]]) -> list[str]:
    """Names of what every sample has a whole number or a list of."""
    if not samples:
        return []
    return [
        name
        for name in samples[0]
        if all(_size(sample.get(name)) is not None for sample in samples)
    ]


def _weight(sample: dict[str, Any], metric: str, field: str | None) -> float:
    """What a sample counts: nothing where it has no such number."""
    if not np.isfinite(_number(sample.get(metric))):
        return 0.0
    return 1.0 if field is None else float(_size(sample.get(field)) or 0)


def _size(value: Any) -> int | None:
    """A whole number, or the length of a list."""
    if isinstance(value, (list, dict)):
        return len(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and value >= 0 else None


def _number(value: Any) -> float:
    """A number, true and false included; NaN for all else."""
    return float(value) if isinstance(value, (bool, int, float)) else np.nan


def _by_key(samples: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Samples by their keys; a key that repeats gets a number."""
    table: dict[str, dict[str, Any]] = {}
    for sample in samples:
        key, number = str(sample['key']), 1
        while key in table:
            number += 1
            key = f'{sample["key"]} ({number})'
        table[key] = sample
    return table
