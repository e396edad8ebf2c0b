"""The paper's table 11 and figure 4, ours beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from rich.table import Table

from sparc_vlm.cost.memory import KINDS
from sparc_vlm.cost.results import (
    MEGABYTE,
    TERA,
    Line,
    Point,
    paper_table,
    point,
)

COLOURS = {
    'CLIP': '#8a8f98',
    'SPARC': '#d1495b',
    'FILIP': '#2a7f9e',
    'GLoRIA': '#e0a030',
    'PACL': '#5b8c5a',
    'MGCA': '#7a5195',
}
OTHER = '#4c4c4c'
MISSING = '-'
COLUMNS = ('paper', 'one-shot', 'ours')


def cost_table(lines: Sequence[Line]) -> Table:
    """Operations and peak memory, the paper's beside ours.

    Args:
        lines: What was counted.
    """
    table = Table(title='Cost of one update, each device')
    table.add_column('')
    table.add_column('batch', justify='right')
    for unit in ('TFLOPs', 'peak MB'):
        for column in COLUMNS:
            table.add_column(f'{unit}\n{column}', justify='right')
    previous = None
    for line in lines:
        if previous not in (None, line.objective):
            table.add_section()
        previous = line.objective
        table.add_row(*_cells(line))
    return table


def memory_table(lines: Sequence[Line]) -> Table:
    """What is held at the peak of our own updates.

    Args:
        lines: What was counted.
    """
    table = Table(title='Peak memory of ours, MB')
    table.add_column('')
    columns = ('batch', *KINDS, 'when', 'kept for backward')
    for column in columns:
        table.add_column(column, justify='right')
    for line in lines:
        cost = line.ours
        table.add_row(
            line.objective,
            str(line.batch_size),
            *(f'{cost.peak[kind] / MEGABYTE:.0f}' for kind in KINDS),
            cost.peak_phase,
            f'{cost.kept / MEGABYTE:.0f}',
        )
    return table


def cost_markdown(lines: Sequence[Line]) -> str:
    """The table of `cost_table` as Markdown.

    Args:
        lines: What was counted.
    """
    head = ['', 'batch']
    for unit in ('TFLOPs', 'MB'):
        head += [f'{unit}, {c}' for c in COLUMNS]
    return _markdown(head, [_cells(line) for line in lines])


def above_clip_markdown(lines: Sequence[Line]) -> str:
    """What each objective takes above CLIP at its batch, as Markdown.

    Args:
        lines: What was counted; batches without CLIP are left out.
    """
    clip = {
        line.batch_size: line for line in lines if line.objective == 'CLIP'
    }
    rows = []
    for line in lines:
        base = clip.get(line.batch_size)
        if base is None or base is line:
            continue
        said = MISSING
        if line.paper and base.paper:
            said = f'{line.paper.tflops - base.paper.tflops:.2f}'
        more = [
            f'{(own.flops - base.ours.flops) / TERA:.3f}'
            for own in (line.one_shot, line.ours)
        ]
        rows.append([line.objective, str(line.batch_size), said, *more])
    head = ['TFLOPs above CLIP', 'batch', *COLUMNS]
    return _markdown(head, rows)


def cost_figure(lines: Sequence[Line]) -> Figure:
    """Operations and memory over the batch, a line for each objective.

    Args:
        lines: What was counted.
    """
    figure = Figure(figsize=(10.5, 4.4), layout='constrained')
    panels = figure.subplots(1, 2)
    names = list(dict.fromkeys(line.objective for line in lines))
    pick: tuple[Callable[[Point], float], ...] = (
        lambda p: p.tflops,
        lambda p: p.megabytes,
    )
    for panel, value, title in zip(
        panels, pick, ('TFLOPs of an update', 'peak memory, MB'), strict=True
    ):
        for name in names:
            own = [line for line in lines if line.objective == name]
            colour = COLOURS.get(name, OTHER)
            batches = [line.batch_size for line in own]
            ours = [value(point(line.ours)) for line in own]
            panel.plot(batches, ours, 'o-', color=colour, label=name, ms=4)
            if any(line.one_shot != line.ours for line in own):
                whole = [value(point(line.one_shot)) for line in own]
                panel.plot(batches, whole, '--', color=colour, lw=1)
            if any(line.paper for line in own):
                said = paper_table()[name]
                panel.plot(
                    list(said),
                    [value(p) for p in said.values()],
                    ':x',
                    color=colour,
                    lw=1,
                    ms=5,
                )
        panel.set_xscale('log', base=2)
        panel.set_xticks(sorted({line.batch_size for line in lines}))
        panel.xaxis.set_major_formatter('{x:.0f}')
        panel.minorticks_off()
        panel.set_yscale('log')
        panel.set_xlabel('pairs of an update')
        panel.set_title(title, fontsize=11)
        panel.grid(alpha=0.25)
        panel.spines[['top', 'right']].set_visible(False)
    panels[0].legend(
        fontsize=8,
        frameon=False,
        title='solid ours, dashed one-shot,\ndotted the paper',
        title_fontsize=8,
    )
    return figure


def _cells(line: Line) -> list[str]:
    points = (line.paper, point(line.one_shot), point(line.ours))
    return [
        line.objective,
        str(line.batch_size),
        *(_tera(p.tflops) if p else MISSING for p in points),
        *(f'{p.megabytes:.0f}' if p else MISSING for p in points),
    ]


def _tera(value: float) -> str:
    return f'{value:.2f}' if value >= 0.1 else f'{value:.1g}'


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    rule = ['---', *['---:'] * (len(head) - 1)]
    return '\n'.join(f'| {" | ".join(row)} |' for row in (head, rule, *rows))
