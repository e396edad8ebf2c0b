"""Trains in a process of its own: into a log, watched, its memory known."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparc_vlm.study.progress import steps_done

SECONDS_BETWEEN_LOOKS = 0.5
LAST_LINES = 12


@dataclass
class LoggedLaunch:
    """Runs a training, its output in a file.

    Attributes:
        folder: Of the training; `train.log` is written there.
        tell: Called now and then with the number of updates done.
        peak_bytes: The most memory that one of its processes held; known
            once it has ended.
    """

    folder: Path
    tell: Callable[[int], None]
    peak_bytes: int | None = None

    def __call__(self, command: list[str], cwd: Path) -> int:
        """Runs it; it is stopped where this process is.

        Args:
            command: What to run.
            cwd: Where.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / 'train.log', 'ab') as log:
            process = subprocess.Popen(
                command, cwd=cwd, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                return self._wait(process)
            except BaseException:
                # It saves a checkpoint and ends.
                process.terminate()
                process.wait()
                raise

    def _wait(self, process: subprocess.Popen) -> int:
        """Waits as `process.wait` does, and learns what memory it took."""
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                # Kilobytes on Linux.
                self.peak_bytes = 1024 * usage.ru_maxrss
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode
            self.tell(steps_done(self.folder))
            time.sleep(SECONDS_BETWEEN_LOOKS)


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
