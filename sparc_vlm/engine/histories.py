"""Histories of logged values, short enough to be copied and saved.

mmengine keeps the last million values under each name, copies them all to
add one, and writes them into each checkpoint. The log shows means over a few
of them, and what is plotted is written elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict

from mmengine.logging import HistoryBuffer

KEPT = 10_000
"""Values that stay under each name; more than any window of the log."""


class ShortHistories(OrderedDict):
    """What `MessageHub.log_scalars` holds, each history `KEPT` values long."""

    def __setitem__(self, name: str, history: HistoryBuffer) -> None:
        """Takes a history, of which the latest values stay."""
        if history.max_length > KEPT:
            values, counts = history.data
            history = HistoryBuffer(values[-KEPT:], counts[-KEPT:], KEPT)
        super().__setitem__(name, history)
