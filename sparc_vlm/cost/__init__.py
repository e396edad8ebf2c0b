"""What one update costs: operations and memory, counted without a machine."""

from sparc_vlm.cost.report import (
    above_clip_markdown,
    cost_figure,
    cost_markdown,
    cost_table,
    memory_table,
)
from sparc_vlm.cost.results import (
    Line,
    Point,
    cost_line,
    name_objectives,
    paper_table,
    point,
    read_lines,
    write_lines,
)
from sparc_vlm.cost.update import Cost, Setting, update_costs

__all__ = [
    'Cost',
    'Line',
    'Point',
    'Setting',
    'above_clip_markdown',
    'cost_figure',
    'cost_line',
    'cost_markdown',
    'cost_table',
    'memory_table',
    'name_objectives',
    'paper_table',
    'point',
    'read_lines',
    'update_costs',
    'write_lines',
]
