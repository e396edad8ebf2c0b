"""A request to stop, by Ctrl-C or by a scheduler's SIGTERM.

The signal only leaves a note; whoever reads it decides when it is safe.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Notes SIGTERM and SIGINT while it listens."""

    def __init__(self) -> None:
        self.name: str | None = 'another process'
        self.requested = False
        self._before: dict[int, Any] = {}
        self._process = 0

    def listen(self) -> None:
        """Takes the signals, if this is the main thread (only it may)."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._process = os.getpid()
        self.requested = False
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._note)

    def ignore(self) -> None:
        """Gives the signals back to whoever had them before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:
            self._in_worker(number)
            return
        self.name = signal.Signals(number).name
        self.requested = True
        # The second one is not for us: it stops at once.
        signal.signal(number, self._before.pop(number, signal.SIG_DFL))

    def _in_worker(self, number: int) -> None:
        """A data worker that was forked from here got the signal.

        Ctrl-C goes to all processes of a terminal; a worker that died of it
        would take the step under way with it, so the parent decides.
        """
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
