"""Tables of what was measured on detectors and captioners."""

from __future__ import annotations

import statistics

from benchmarks.markdown import Report, markdown, spread


def detector_table(report: Report) -> str:
    """Pictures a second by backbone, from `detector_inference`.

    Args:
        report: What it wrote.
    """
    rows = []
    for size, found in report['inference'].items():
        what = f'{size}, {found["side"]} pixels'
        ours = next(iter(found['detectors'].values()))['seconds']
        for name, one in found['detectors'].items():
            rounds = zip(one['seconds'], ours, strict=True)
            longer = spread([theirs / own for theirs, own in rounds], 2)
            rate = f'{one["pictures_per_second"]:.2f}'
            millions = f'{one["parameters"] / 1e6:.1f}'
            rows.append((what, name, rate, millions, longer))
    head = 'size', 'backbone', 'pictures/s', 'million parameters'
    return markdown((*head, 'times as long as the first'), rows)


def update_table(report: Report) -> str:
    """Time and memory of an update, from `captioner_speed`.

    Args:
        report: What it wrote; reports from before a common start was computed
            once have a column less.
    """
    rows = []
    for one in report['updates']:
        middle = statistics.median(one['seconds'])
        each = one.get('seconds_in_each', [])
        rounds = zip(each, one['seconds'], strict=False)
        longer = [other / own for other, own in rounds]
        rows.append(
            (
                one['trains'],
                one['weights'],
                spread(one['seconds'], 2),
                f'{one["tokens"] / middle:.0f}',
                f'{one["peak_bytes"] / 2**30:.2f}',
                *([spread(longer, 2)] if longer else []),
            )
        )
    head = ['what trains', 'frozen weights', 'seconds', 'tokens/s']
    head.append('GiB of the process')
    if len(rows[0]) > len(head):
        head.append('times as long, its start in each conversation')
    return markdown(head, rows)


def writing_table(report: Report) -> str:
    """Tokens a second of writing, from `captioner_speed`.

    Args:
        report: What it wrote.
    """
    rows = [
        (
            f'{one["pictures"]}',
            one['weights'],
            f'{one["tokens_per_second"]:.1f}',
            spread(one['seconds'], 2),
        )
        for one in report['writing']
    ]
    head = 'pictures at a time', 'weights', 'tokens/s'
    return markdown((*head, 'seconds'), rows)
