"""How much memory a piece of work takes at most, on CPU or GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

RESET = Path('/proc/self/clear_refs')


class Peak:
    """Bytes held at most while a block of code ran.

    Attributes:
        device: 'cuda' for tensors on the GPU, 'cpu' for the process.
        bytes: The most held; None while the block runs, and where the
            system does not tell.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.bytes: int | None = None


@contextmanager
def peak_memory(device: str | torch.device = 'cpu') -> Iterator[Peak]:
    """Measures the block that it is put around.

    On a CPU it is the whole process, what was there before included; Linux
    alone tells.

    Args:
        device: Where the work is done.
    """
    is_cuda = torch.device(device).type == 'cuda'
    peak = Peak('cuda' if is_cuda else 'cpu')
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            RESET.write_text('5')
    try:
        yield peak
    finally:
        if is_cuda:
            peak.bytes = torch.cuda.max_memory_allocated(device)
        else:
            peak.bytes = high_water()


def high_water(process: int | str = 'self') -> int | None:
    """The most that a process has held since it was started or last reset.

    Args:
        process: Its number.
    """
    with suppress(OSError):
        status = Path(f'/proc/{process}/status').read_text()
        found = re.search(r'VmHWM:\s*(\d+) kB', status)
        if found:
            return 1024 * int(found[1])
    return None
