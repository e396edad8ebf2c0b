"""A table of results: models against measures, the best marked.

One table, written as text for a terminal, as Markdown and as HTML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sparc_vlm.visualization.cells import as_html, as_markdown, as_text

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
        return as_text(self.cells, self.title, self.note)

    def markdown(self) -> str:
        """As a Markdown table; a best value is bold."""
        return as_markdown(self.cells, self.title, self.note)

    def html(self) -> str:
        """As an HTML table that scrolls where it is too wide."""
        return as_html(self.cells, self.title, self.note)
