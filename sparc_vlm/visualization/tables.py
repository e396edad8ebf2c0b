"""A table of results: models against measures, the best marked.

One table, written as text for a terminal, as Markdown and as HTML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

MISSING = '-'


@dataclass(frozen=True)
class Measure:
    """One number that every model has.

    Attributes:
        key: Where it stands in a model's values.
        title: What it is called.
        digits: Digits after the point.
        higher_is_better: Which end is marked best; None marks none.
    """

    key: str
    title: str
    digits: int = 1
    higher_is_better: bool | None = True

    def show(self, value: float | None) -> str:
        """The value as text; missing and NaN alike are a dash."""
        if value is None or math.isnan(value):
            return MISSING
        return f'{value:.{self.digits}f}'


@dataclass(frozen=True)
class Table:
    """Models against measures.

    Attributes:
        measures: The numbers, in order.
        values: By the model's name, its values by the measure's key; a value
            may be missing.
        chance: What guessing scores, by the measure's key; None for no row.
        title: Stands above it.
        note: Stands below it.
        measures_down: Measures as rows and models as columns, which reads
            best for two or three models; else the other way round.
    """

    measures: list[Measure]
    values: Mapping[str, Mapping[str, float]]
    chance: Mapping[str, float] | None = None
    title: str = ''
    note: str = ''
    measures_down: bool = True
    best: dict[str, set[str]] = field(init=False)

    def __post_init__(self) -> None:
        best = {m.key: self._best(m) for m in self.measures}
        object.__setattr__(self, 'best', best)

    def _best(self, measure: Measure) -> set[str]:
        """The models that show the best value; none where all tie."""
        shown = {
            name: float(text)
            for name, own in self.values.items()
            if (text := measure.show(own.get(measure.key))) != MISSING
        }
        if measure.higher_is_better is None or len(shown) < 2:
            return set()
        pick = max if measure.higher_is_better else min
        top = pick(shown.values())
        best = {name for name, value in shown.items() if value == top}
        return best if len(best) < len(shown) else set()

    def cells(self, mark: tuple[str, str] = ('', '')) -> list[list[str]]:
        """Heading and rows as text.

        Args:
            mark: What goes before and after a best value.
        """
        rows = [['', *(measure.title for measure in self.measures)]]
        for name, own in self.values.items():
            row = [name]
            for measure in self.measures:
                text = measure.show(own.get(measure.key))
                if name in self.best[measure.key]:
                    text = f'{mark[0]}{text}{mark[1]}'
                row.append(text)
            rows.append(row)
        if self.chance is not None:
            shown = [m.show(self.chance.get(m.key)) for m in self.measures]
            rows.append(['chance', *shown])
        if self.measures_down:
            return [list(column) for column in zip(*rows, strict=True)]
        return rows

    def text(self) -> str:
        """For a terminal; a best value has a star."""
        # The star takes the place of a space, so that the points line up.
        rows = self.cells(('', '*'))
        rows = [
            [row[0], *(c if c.endswith('*') else f'{c} ' for c in row[1:])]
            for row in rows
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [self.title] if self.title else []
        for number, row in enumerate(rows):
            cells = [row[0].ljust(widths[0])]
            cells += [
                cell.rjust(width)
                for cell, width in zip(row[1:], widths[1:], strict=True)
            ]
            lines.append('  '.join(cells).rstrip())
            if number == 0:
                lines.append('-' * (sum(widths) + 2 * len(widths) - 2))
        if self.note:
            lines.append(self.note)
        return '\n'.join(lines)

    def markdown(self) -> str:
        """As a Markdown table; a best value is bold."""
        rows = [
            [cell.replace('|', '\\|') for cell in row]
            for row in self.cells(('**', '**'))
        ]
        lines = [' | '.join(row).join(('| ', ' |')) for row in rows]
        rule = '|---|' + '---:|' * (len(rows[0]) - 1)
        parts = [f'**{self.title}**\n'] if self.title else []
        parts += [lines[0], rule, *lines[1:]]
        parts += [f'\n{self.note}'] if self.note else []
        return '\n'.join(parts)

    def html(self) -> str:
        """As an HTML table that scrolls where it is too wide."""
        opened, closed = '\x02', '\x03'
        rows = [
            [
                escape(cell).replace(opened, '<b>').replace(closed, '</b>')
                for cell in row
            ]
            for row in self.cells((opened, closed))
        ]
        head = ''.join(f'<th>{cell}</th>' for cell in rows[0])
        body = ''
        for row in rows[1:]:
            cells = ''.join(f'<td>{cell}</td>' for cell in row[1:])
            body += f'<tr><th>{row[0]}</th>{cells}</tr>\n'
        caption = f'<caption>{escape(self.title)}</caption>'
        note = f'<p class="note">{escape(self.note)}</p>'
        return (
            f'<div class="wide"><table>{caption if self.title else ""}'
            f'<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>'
            f'</div>{note if self.note else ""}'
        )
