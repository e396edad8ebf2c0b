"""What the data had to say: pairs read, broken images, cut captions.

Bad data never stop a run, so they have to be counted and told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MOST_EXAMPLES = 5


class DataReport:
    """Adds up the `report` dicts that come with batches."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: list[str] = []

    def add(self, report: dict[str, Any]) -> None:
        """Adds the report of a batch, or the state of another `DataReport`.

        Args:
            report: Counters by name ('pairs', 'broken_images', ...), and
                under 'examples' a few strings 'path: reason'.
        """
        for name, value in report.items():
            if name != 'examples':
                self.counts[name] = self.counts.get(name, 0) + int(value)
        room = MOST_EXAMPLES - len(self.examples)
        self.examples += list(report.get('examples', ()))[: max(room, 0)]

    def state_dict(self) -> dict[str, Any]:
        """The counts so far, as a report."""
        return {**self.counts, 'examples': list(self.examples)}

    def text(self) -> str:
        """The counts in one line."""
        counts = {'pairs': 0, **self.counts}
        parts = [
            f'{value} {name.replace("_", " ")}'
            for name, value in counts.items()
            if value or name == 'pairs'
        ]
        if len(parts) == 1:
            parts.append('nothing broken')
        line = 'data: ' + ', '.join(parts)
        if self.examples:
            more = len(self.examples) - 1
            line += f' (first: {self.examples[0]}'
            line += f'; {more} more below)' if more else ')'
        return '\n  '.join([line, *self.examples[1:]])


def joined(reports: Iterable[dict[str, Any]]) -> DataReport:
    """One report of several, such as those of all processes."""
    total = DataReport()
    for report in reports:
        total.add(report)
    return total
