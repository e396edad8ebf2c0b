"""Trains in a process of its own: into a log, watched, its memory known."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from sparc_vlm.study.memory import high_water
from sparc_vlm.study.progress import steps_done

SECONDS_BETWEEN_LOOKS = 0.5
LAST_LINES = 12
THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')


@dataclass
class LoggedLaunch:
    """Runs a training, its output in a file.

    Attributes:
        folder: Of the training; `train.log` is written there.
        tell: Called now and then with the number of updates done.
        threads: That it may compute with; None leaves that to it.
        stop: Set by whoever wants it to end before its time.
        peak_bytes: The most memory that its main process held; None where
            the system does not tell.
    """

    folder: Path
    tell: Callable[[int], None]
    threads: int | None = None
    stop: Event = field(default_factory=Event)
    peak_bytes: int | None = None

    def __call__(self, command: list[str], cwd: Path) -> int:
        """Runs it.

        Args:
            command: What to run.
            cwd: Where.

        Returns:
            Its exit code.

        Raises:
            KeyboardInterrupt: It was stopped.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        limits = dict.fromkeys(THREADS, str(self.threads))
        with open(self.folder / 'train.log', 'ab') as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(limits if self.threads else {})},
            )
            try:
                return self._wait(process)
            except BaseException:
                # It saves a checkpoint and ends.
                process.terminate()
                process.wait()
                raise

    def _wait(self, process: subprocess.Popen) -> int:
        """Waits as `process.wait` does, and learns what memory it takes."""
        while process.poll() is None:
            if self.stop.is_set():
                raise KeyboardInterrupt
            # What the system counts for a child that has ended holds what
            # the parent took when it was started, too.
            held = high_water(process.pid)
            if held is not None:
                self.peak_bytes = max(held, self.peak_bytes or 0)
            self.tell(steps_done(self.folder))
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return process.returncode


def last_lines(folder: Path, count: int = LAST_LINES) -> list[str]:
    """The end of a training's log.

    Args:
        folder: Of the training.
        count: Lines at most.
    """
    try:
        text = (folder / 'train.log').read_text('utf-8', 'replace')
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]
