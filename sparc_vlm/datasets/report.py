"""Counts of what was wrong with the data, kept beside every batch.

Bad data never stop a run; they are counted here and shown at the end of an
epoch with a few examples.
"""

from __future__ import annotations

from typing import Any

COUNTERS = (
    'pairs',
    'broken_images',
    'empty_captions',
    'truncated_captions',
    'bad_encodings',
    'skipped_rows',
    'broken_shards',
)
EXAMPLES = 5

Report = dict[str, Any]


def new_report(**counts: int) -> Report:
    """A report of nothing.

    Args:
        **counts: Counters that start at another number than 0.
    """
    return {**dict.fromkeys(COUNTERS, 0), **counts, 'examples': []}


def note(report: Report, counter: str, example: str | None = None) -> None:
    """Counts one case.

    Args:
        report: Counted in place.
        counter: One of `COUNTERS`.
        example: 'path: reason', kept if there are few so far.
    """
    report[counter] += 1
    if example and len(report['examples']) < EXAMPLES:
        report['examples'].append(example)


def add_report(total: Report, report: Report) -> None:
    """Adds a report to another, in place."""
    for counter in COUNTERS:
        total[counter] += report[counter]
    for example in report['examples']:
        if len(total['examples']) < EXAMPLES:
            total['examples'].append(example)
