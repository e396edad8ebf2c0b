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
        report: What it wrote.
    """
    rows = []
    for one in report['updates']:
        middle = statistics.median(one['seconds'])
        rounds = zip(one['seconds_in_each'], one['seconds'], strict=True)
        longer = [each / once for each, once in rounds]
        rows.append(
            (
                one['trains'],
                one['weights'],
                spread(one['seconds'], 2),
                f'{one["tokens"] / middle:.0f}',
                f'{one["peak_bytes"] / 2**30:.2f}',
                spread(longer, 2),
            )
        )
    head = 'what trains', 'frozen weights', 'seconds', 'tokens/s'
    more = 'GiB of the process', 'times as long, the start in each'
    return markdown((*head, *more), rows)


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


def prompting_table(report: Report) -> str:
    """What computing a prompt's start once gives, from `captioner_speed`.

    Args:
        report: What it wrote.
    """
    rows = []
    for one in report['prompting']:
        rounds = zip(one['seconds_in_each'], one['seconds'], strict=True)
        longer = spread([each / once for each, once in rounds], 2)
        seconds = spread(one['seconds'], 2)
        rows.append((one['prompts'], one['weights'], seconds, longer))
    head = 'what is written', 'weights', 'seconds'
    return markdown((*head, 'times as long, the start in each'), rows)
