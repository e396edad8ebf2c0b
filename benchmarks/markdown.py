"""Numbers of several rounds, and tables, as the benchmarks write them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Report = dict[str, Any]
"""The JSON of one of the scripts."""


def spread(values: Sequence[float], digits: int) -> str:
    """Median, and least to most.

    Args:
        values: Of the rounds; none shows as nothing.
        digits: After the point.
    """
    if not values:
        return ''
    middle, least, most = (
        f'{value:.{digits}f}'
        for value in (statistics.median(values), min(values), max(values))
    )
    return f'{middle} ({least} to {most})'


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table.

    Args:
        head: Names of the columns; all but the first are set to the right.
        rows: Their cells.
    """
    ruler = ['---', *['---:'] * (len(head) - 1)]
    return '\n'.join(f'| {" | ".join(row)} |' for row in (head, ruler, *rows))
