"""An arm's numbers: over seeds, how sure they are, against the baseline."""

from __future__ import annotations

import statistics
from typing import Any

from sparc_vlm.evaluation.samples import AnyScores, paired, scores_of
from sparc_vlm.evaluation.statistics import Interval, bootstrap
from sparc_vlm.study.measure import Sheet

FEWEST = 10
"""Samples that a difference gets an interval for: a few may all agree."""


def compared_metrics(
    own: dict[int, dict[str, Sheet]],
    base: dict[int, dict[str, Sheet]] | None,
) -> dict[str, Any]:
    """By task and metric: mean, spread, interval, difference.

    Args:
        own: What was found of an arm, by seed and task.
        base: Likewise of the baseline; None for the baseline itself.
    """
    found: dict[str, Any] = {}
    tasks = dict.fromkeys(task for sheets in own.values() for task in sheets)
    for task in tasks:
        at_seeds = [sheets.get(task) for sheets in own.values()]
        results = [sheet for sheet in at_seeds if sheet is not None]
        others = _results(base, task) if base else []
        # One that is undefined at a seed may be there at another.
        names = dict.fromkeys(m for r in results for m in r['metrics'])
        found[task] = {
            metric: {
                **_metric(metric, results, others),
                # One for each of the arm's seeds, whether or not it is there.
                'seeds': [s and s['metrics'].get(metric) for s in at_seeds],
            }
            for metric in names
        }
    return found


def _metric(
    metric: str, results: list[Sheet], others: list[Sheet]
) -> dict[str, Any]:
    """One metric of one arm."""
    values = [result['metrics'].get(metric) for result in results]
    known = [value for value in values if value is not None]
    taken_apart = None
    if len(known) == len(values):
        taken_apart = scores_of(metric, results)
    entry: dict[str, Any] = {
        'mean': statistics.fmean(known),
        'spread': statistics.stdev(known) if len(known) > 1 else None,
        'interval': _ends(taken_apart and bootstrap(taken_apart[0])),
        'draws': taken_apart and taken_apart[0].draws,
    }
    theirs = [r['metrics'][metric] for r in others if metric in r['metrics']]
    if theirs:
        pair = None
        if len(known) == len(values) and len(theirs) == len(others):
            pair = paired(metric, results, others)
        entry['difference'] = _difference(
            entry['mean'] - statistics.fmean(theirs), pair
        )
    return entry


def _difference(
    of_means: float, pair: tuple[AnyScores, AnyScores] | None
) -> dict[str, Any]:
    """A difference to the baseline, over what both were measured on.

    Args:
        of_means: Where nothing better is known.
        pair: Scores of both on the samples that they share.
    """
    shared = pair and pair[0].samples
    if not shared or shared < FEWEST:
        return {'mean': of_means, 'interval': None}
    found = bootstrap(*pair)
    return {'mean': found.value, 'interval': _ends(found)}


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _results(own: dict[int, dict[str, Sheet]], task: str) -> list[Sheet]:
    """What a task found at each seed."""
    return [sheets[task] for sheets in own.values() if task in sheets]
