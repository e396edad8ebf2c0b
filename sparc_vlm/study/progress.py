"""How far a study has come, and when it will be done."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Lock

from rich import progress as rich


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


class Bar:
    """What is being done now with one arm.

    Args:
        display: rich's bars.
        name: Of the arm, goes before all that is said.
        stop: Set to end the work that tells this bar of itself.
    """

    def __init__(self, display: rich.Progress, name: str, stop: Event) -> None:
        self.name = name
        self._display = display
        self._stop = stop
        self._line = display.add_task(name, total=None)

    def __call__(self, what: str, done: float, total: float | None) -> None:
        """How far it has come: what a task takes as its `progress`.

        Args:
            what: Is done now.
            done: So much of it.
            total: All of it; None where nobody knows.

        Raises:
            KeyboardInterrupt: The work is not wanted any more.
        """
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._display.update(
            self._line,
            description=f'{self.name}: {what}',
            completed=done,
            total=total,
        )

    def close(self) -> None:
        """Takes it from the screen."""
        self._display.remove_task(self._line)


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
        self._counting = Lock()
        self._start = time.monotonic()
        self._all = display.add_task('all', total=units)

    def say(self, line: str) -> None:
        """A line above the bars, which also a file gets."""
        self.display.console.print(
            line, markup=False, highlight=False, soft_wrap=True
        )

    def bar(self, name: str, stop: Event) -> Bar:
        """A bar of its own for one arm, to be closed.

        Args:
            name: Of the arm.
            stop: Set to end its work.
        """
        return Bar(self.display, name, stop)

    def finish(self, worked: bool) -> str:
        """Counts a unit.

        Args:
            worked: Whether there was anything to do.

        Returns:
            '3 of 20, about 0:42:00 left'; the time left goes by what was
            worked on since the start.
        """
        with self._counting:
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
