"""Tables of a study in the paper's form: a table a task, a row an arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparc_vlm.study.measure import Sheet
from sparc_vlm.study.titles import best_of, compared, heading, title_of
from sparc_vlm.visualization.cells import as_html, as_markdown, as_text
from sparc_vlm.visualization.tables import MISSING

HIGHER, LOWER = '▲', '▼'


@dataclass(frozen=True)
class TextTable:
    """A table of ready cells.

    Attributes:
        rows: Heading and rows.
        marked: (row, column) of what stands out.
        title: Stands above.
        note: Stands below.
    """

    rows: list[list[str]]
    marked: frozenset[tuple[int, int]] = frozenset()
    title: str = ''
    note: str = ''

    def cells(self, mark: tuple[str, str]) -> list[list[str]]:
        """Heading and rows, what stands out between the marks."""
        return [
            [
                f'{mark[0]}{cell}{mark[1]}' if (r, c) in self.marked else cell
                for c, cell in enumerate(row)
            ]
            for r, row in enumerate(self.rows)
        ]

    def text(self) -> str:
        """For a terminal."""
        return as_text(self.cells, self.title, self.note)

    def markdown(self) -> str:
        """As Markdown."""
        return as_markdown(self.cells, self.title, self.note)

    def html(self) -> str:
        """As HTML."""
        return as_html(self.cells, self.title, self.note)


def columns_of(report: dict[str, Any], task: str) -> dict[str, str]:
    """Titles of the metrics of a task that tables show, by metric.

    Args:
        report: What `summarise` returned.
        task: Name of the task.
    """
    there = dict.fromkeys(
        metric
        for arm in report['arms'].values()
        for metric in arm['metrics'].get(task, {})
    )
    kind = report['types'][task]
    return {key: title_of(kind, key) for key in compared(kind, there)}


def heading_of(report: dict[str, Any], task: str) -> str:
    """What a table of a task is headed with."""
    return heading(report['types'][task], task)


def task_table(report: dict[str, Any], task: str) -> TextTable:
    """Means over seeds, their spread, and how sure the differences are.

    Args:
        report: What `summarise` returned.
        task: Name of the task.
    """
    columns = columns_of(report, task)
    rows = [['', *columns.values()]]
    arms = [
        name for name, arm in report['arms'].items() if task in arm['metrics']
    ]
    for name in arms:
        found = report['arms'][name]['metrics'][task]
        rows.append([name, *(_cell(found.get(key)) for key in columns)])
    count = f'{report["pictures"][task]} samples'
    if task in report.get('uneven', ()):
        count = f'up to {count}, differences over those that both have'
    chance = report['chance'].get(task) or {}
    if chance:
        shown = [chance.get(key) for key in columns]
        rows.append(['chance', *(_number(value) for value in shown)])
    return TextTable(
        rows,
        _best(report, task, arms, list(columns)),
        heading_of(report, task),
        f'In percent, {count}; mean over seeds ± '
        f'their standard deviation. {HIGHER} {LOWER}: the 95% interval of the '
        f'difference to {report["baseline"]} lies above, below 0. Without ±: '
        'one seed, so that a mark does not say that another training would '
        'have it. Bold: the best mean, sure or not.',
    )


def sheet_table(sheet: Sheet) -> TextTable:
    """All that a task found of one model, beside chance.

    Args:
        sheet: What `measure` returned.
    """
    kind, chance = sheet['type'], sheet['chance']
    rows = [['', 'found', 'chance']]
    rows += [
        [title_of(kind, key), _number(value), _number(chance.get(key))]
        for key, value in sheet['metrics'].items()
    ]
    note = f'{len(sheet["samples"])} samples, {sheet["seconds"]:.1f} s'
    if sheet['peak_bytes'] is not None:
        note += f', at most {sheet["peak_bytes"] / 1e9:.2f} GB'
    left_out = [f'{count} {why}' for why, count in sheet['skipped'].items()]
    note += ''.join(f'; left out: {said}' for said in left_out)
    return TextTable(rows, title=heading(kind, sheet['name']), note=note)


def difference_table(report: dict[str, Any], task: str) -> TextTable | None:
    """Differences to the baseline with their intervals.

    Args:
        report: What `summarise` returned.
        task: Name of the task.

    Returns:
        None where nothing is beside the baseline.
    """
    columns = columns_of(report, task)
    rows = [['', *columns.values()]]
    draws = set()
    for name, arm in report['arms'].items():
        found = arm['metrics'].get(task, {})
        draws |= {entry.get('draws') for entry in found.values()} - {None}
        shown = [(found.get(key) or {}).get('difference') for key in columns]
        if any(shown):
            rows.append([name, *(_difference(entry) for entry in shown)])
    if len(rows) == 1:
        return None
    how_many = ' or '.join(map(str, sorted(draws)))
    return TextTable(
        rows,
        title=f'{heading_of(report, task)}: difference to '
        f'{report["baseline"]}',
        note='95% intervals by bootstrap over seeds and samples, the same '
        f'samples for both{f", {how_many} draws" * bool(draws)}; no interval '
        'where samples do not add up to the metric.',
    )


def cost_table(report: dict[str, Any]) -> TextTable:
    """Time and memory of training."""
    heads = ('seeds', 'updates', 's an update', 'minutes', 'peak GB')
    rows = [['', *heads]]
    for name, arm in report['arms'].items():
        if arm['checkpoint']:
            rows.append([name, '-', '-', '-', '-', '-'])
            continue
        seconds, peak = arm['step_seconds'], arm['peak_bytes']
        minutes = sum(arm['seconds']) / len(arm['seconds']) / 60
        steps = arm['options'].get('train_cfg.max_iters', '')
        rows.append(
            [
                name,
                str(len(arm['seeds'])),
                str(steps or MISSING),
                MISSING if seconds is None else f'{seconds:.2f}',
                f'{minutes:.1f}',
                MISSING if peak is None else f'{peak / 1e9:.2f}',
            ]
        )
    return TextTable(
        rows,
        title='Cost of training',
        note='Median time of an update of the fastest seed; minutes of one '
        'training with validation, mean over seeds; the most memory of its '
        'main process.',
    )


def _cell(entry: dict[str, Any] | None) -> str:
    """'23.4 ±0.5 ▲'."""
    if entry is None:
        return MISSING
    text = _number(entry['mean'])
    if entry['spread'] is not None:
        text += f' ±{entry["spread"]:.1f}'
    low, high = (entry.get('difference') or {}).get('interval') or (0, 0)
    if low > 0:
        return f'{text} {HIGHER}'
    return f'{text} {LOWER}' if high < 0 else text


def _difference(entry: dict[str, Any] | None) -> str:
    """'+1.2 [0.3, 2.1]'."""
    if entry is None:
        return MISSING
    text = f'{entry["mean"]:+.1f}'
    if entry['interval'] is None:
        return text
    low, high = entry['interval']
    return f'{text} [{low:+.1f}, {high:+.1f}]'


def _number(value: float | None) -> str:
    return MISSING if value is None else f'{value:.1f}'


def _best(
    report: dict[str, Any], task: str, arms: list[str], columns: list[str]
) -> frozenset[tuple[int, int]]:
    """Where the best mean of each column stands, ties included."""
    marked = set()
    for column, key in enumerate(columns, 1):
        pick = best_of(report['types'][task], key)
        if pick is None:
            continue
        shown = {
            row: round(report['arms'][name]['metrics'][task][key]['mean'], 1)
            for row, name in enumerate(arms, 1)
            if key in report['arms'][name]['metrics'][task]
        }
        top = pick(shown.values(), default=None)
        best = [row for row, value in shown.items() if value == top]
        if len(best) < len(shown):
            marked |= {(row, column) for row in best}
    return frozenset(marked)
