"""Training curves, read from the scalars that a run has written."""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Scalars = dict[str, dict[int, float]]
"""Value by step, by the name of the scalar."""
COLOURS = ('#8a8f98', '#d1495b', '#2a7f9e', '#e0a030', '#5b8c5a', '#7a5195')
STYLES = ('-', '--', ':', '-.')
"""Of lines, once all colours are taken."""


def read_scalars(work_dir: str | Path) -> Scalars:
    """Everything logged under a work folder, resumed runs joined.

    A step that was logged twice (a run that was resumed) keeps its latest
    value. A line cut off by a crash is passed over.

    Args:
        work_dir: Holds `**/vis_data/scalars.json` as mmengine writes them,
            and `val/<iteration>/metrics.json` as the task loop does. The
            latter are taken for what both have: mmengine can log validation
            by epoch, which gives every step the same number.

    Returns:
        Of several data sets also the means of what each has: the loss is
        logged as their sum, other values for each alone.
    """
    scalars: Scalars = defaultdict(dict)
    # Folders are named by the time of their start.
    for path in sorted(Path(work_dir).glob('**/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                values = json.loads(line)
            except json.JSONDecodeError:
                continue
            step = int(values.get('step', values.get('iter', 0)))
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    scalars[name][step] = float(value)
    validated: Scalars = defaultdict(dict)
    for path in Path(work_dir).glob('val/*/metrics.json'):
        sheet = json.loads(path.read_text())
        for name, value in sheet['metrics'].items():
            validated[name][int(sheet['iteration'])] = float(value)
    joined = {**_over_data(scalars), **scalars, **validated}
    return {name: dict(sorted(s.items())) for name, s in joined.items()}


def _over_data(scalars: Scalars) -> Scalars:
    """Means of what is logged for each data set alone: 'data0/loss_local'."""
    parts: dict[str, list[dict[int, float]]] = defaultdict(list)
    for name, values in scalars.items():
        data, _, own = name.partition('/')
        if re.fullmatch(r'data\d+', data):
            parts[own].append(values)
    return {
        own: {
            step: statistics.fmean(values[step] for values in several)
            for step in set.intersection(*map(set, several))
        }
        for own, several in parts.items()
    }


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Running mean over at most `window` values, centred, of equal length."""
    values = np.asarray(values, float)
    half = window // 2
    return np.array(
        [
            np.nanmean(values[max(0, i - half) : i + half + 1])
            for i in range(len(values))
        ]
    )


def draw_curves(
    runs: Mapping[str, Scalars],
    keys: Mapping[str, str],
    columns: int = 3,
) -> Figure:
    """One panel a scalar, one line a run.

    Args:
        runs: Scalars by the name of the run.
        keys: Titles by the name of the scalar; a scalar that no run has gets
            a panel that says so.
        columns: Panels in a row at most.
    """
    columns = min(columns, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.6 * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False)
    lines: dict[str, Line2D] = {}
    for panel in axes.flat[len(keys) :]:
        panel.set_axis_off()
    for panel, (key, title) in zip(axes.flat, keys.items(), strict=False):
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.25)
        panel.spines[['top', 'right']].set_visible(False)
        panel.tick_params(labelsize=8)
        panel.set_xlabel('update', fontsize=8)
        for number, (name, scalars) in enumerate(runs.items()):
            if key not in scalars:
                continue
            steps, values = zip(*scalars[key].items(), strict=True)
            turn, place = divmod(number, len(COLOURS))
            colour, style = COLOURS[place], STYLES[turn % len(STYLES)]
            is_sparse = len(values) < 30
            if not is_sparse:
                panel.plot(steps, values, color=colour, alpha=0.2, lw=0.8)
                values = smooth(values, len(values) // 20)
            panel.plot(
                steps,
                values,
                color=colour,
                linestyle=style,
                label=name,
                lw=1.8,
                marker='o' if is_sparse else None,
                markersize=3,
            )
            lines.setdefault(name, panel.lines[-1])
        if not panel.lines:
            panel.text(
                0.5, 0.5, 'not logged', ha='center', transform=panel.transAxes
            )
    # One for all panels, where no line runs through it.
    names = [name for name in runs if name in lines]
    figure.legend(
        [lines[name] for name in names],
        names,
        loc='outside lower center',
        ncols=2 * columns,
        fontsize=8,
        frameon=False,
        handlelength=3,  # or dashes look like a line
        columnspacing=1.2,
    )
    return figure
