"""How far a study has come, and when it will be done."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from rich import progress as rich

from sparc_vlm.evaluation.task import Progress


def steps_done(folder: Path) -> int:
    """The last update that a training has logged; 0 before the first."""
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    for path in reversed(logs):
        for line in reversed(path.read_text('utf-8').splitlines()):
            try:
                return int(json.loads(line)['step'])
            except (KeyError, ValueError):
                continue  # a line that is being written
    return 0


class StudyProgress:
    """Bars for a terminal: all of the study, and what is being done now.

    Args:
        units: Trainings and models to measure, each about as long.
        display: rich's bars.
    """

    def __init__(self, units: int, display: rich.Progress) -> None:
        self.units = units
        self.display = display
        self.done = 0
        self._worked = 0
        self._start = time.monotonic()
        self._all = display.add_task('all', total=units)
        self._now = display.add_task('', total=None, visible=False)

    def say(self, line: str) -> None:
        """A line above the bars, which also a file gets."""
        self.display.console.print(line, markup=False, highlight=False)

    def begin(self, what: str) -> None:
        """Names what is done now."""
        self.display.reset(self._now, description=what, visible=True)

    def part(self, done: float, total: float) -> None:
        """How far what is done now has come."""
        self.display.update(self._now, completed=done, total=total)

    def task(self, what: str) -> Progress:
        """The same as a task's `progress`.

        Args:
            what: Goes before what the task says of itself.
        """

        def advance(part: str, done: int, total: int) -> None:
            self.display.update(
                self._now,
                description=f'{what}: {part}',
                completed=done,
                total=total,
            )

        return advance

    def finish(self, worked: bool) -> str:
        """Counts a unit.

        Args:
            worked: Whether there was anything to do.

        Returns:
            '3 of 20, 0:42:00 left'; the time left goes by what was worked
            on since the start.
        """
        self.done += 1
        self._worked += worked
        self.display.update(self._all, completed=self.done)
        said = f'{self.done} of {self.units}'
        left = self.units - self.done
        if not self._worked or not left:
            return said
        seconds = (time.monotonic() - self._start) / self._worked * left
        return f'{said}, about {timedelta(seconds=round(seconds))} left'


@contextmanager
def study_progress(units: int) -> Iterator[StudyProgress]:
    """Bars while the block runs.

    Args:
        units: Trainings and models to measure.
    """
    columns = (
        rich.TextColumn('{task.description}'),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, transient=True) as display:
        yield StudyProgress(units, display)
