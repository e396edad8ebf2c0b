"""Puts the tables of committed results into docs/performance.md.

python benchmarks/pages.py

Each pair of marks `<!-- NAME:begin -->` and `<!-- NAME:end -->` holds the
table that `PARTS` makes of a file in `benchmarks/results`; a test holds that
the page says what the files hold.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.downstream_tables import (  # noqa: E402
    detector_table,
    prompting_table,
    update_table,
    writing_table,
)
from benchmarks.tables import (  # noqa: E402
    data_table,
    index_table,
    large_table,
    loss_ratio_table,
    loss_table,
    parts_table,
    profile_table,
    ratio_table,
    retrieval_table,
    step_table,
)

PAGE = ROOT / 'docs' / 'performance.md'
RESULTS = ROOT / 'benchmarks' / 'results'
PARTS: dict[str, tuple[str, Callable[..., str]]] = {
    'steps': ('train_step', step_table),
    'ratios': ('train_step', ratio_table),
    'gpu-steps': ('train_step_gpu', step_table),
    'gpu-ratios': ('train_step_gpu', ratio_table),
    'gpu-ratios-before': ('train_step_gpu_before', ratio_table),
    'parts-vittiny': ('step_parts_tiny', parts_table),
    'loss-seconds': ('losses', partial(loss_table, field='seconds')),
    'loss-memory': ('losses', partial(loss_table, field='peak_bytes')),
    'loss-ratios': ('losses', loss_ratio_table),
    'data': ('data_rate', data_table),
    'index': ('data_rate', index_table),
    'retrieval': ('retrieval', retrieval_table),
    'detectors': ('detector_inference', detector_table),
    'captioner-updates': ('captioner_speed', update_table),
    'captioner-writing': ('captioner_speed', writing_table),
    'captioner-prompting': ('captioner_speed', prompting_table),
}
"""By the name of the mark: a file of results, and what makes a table."""
TOGETHER: dict[str, tuple[str, Callable[..., str]]] = {
    'large': ('loss_4096_*', large_table),
    'profile-vitb16': ('profile_vitb16_*', profile_table),
    'profile-vittiny': ('profile_vittiny_*', profile_table),
}
"""The same where one table shows all files of a pattern."""


def fill(page: str, results: Path = RESULTS) -> str:
    """A page with its tables made anew.

    Args:
        page: Its text.
        results: Folder of the results.

    Raises:
        KeyError: The page has a mark that nothing is known of.
        FileNotFoundError: There is no file of what it stands for.
    """

    def table(found: re.Match[str]) -> str:
        name = found[1]
        inside = _table(name, results)
        return f'<!-- {name}:begin -->\n{inside}\n<!-- {name}:end -->'

    marks = r'<!-- ([\w-]+):begin -->\n.*?<!-- \1:end -->'
    return re.sub(marks, table, page, flags=re.DOTALL)


def _table(name: str, results: Path) -> str:
    if name in TOGETHER:
        pattern, make = TOGETHER[name]
        found = sorted(results.glob(pattern))
        if not found:
            raise FileNotFoundError(f'no {pattern} in {results}')
        return make([_read(path) for path in found])
    file, make = PARTS[name]
    return make(_read(results / f'{file}.json'))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


if __name__ == '__main__':
    PAGE.write_text(fill(PAGE.read_text()))
