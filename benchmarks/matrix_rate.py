"""How fast this machine multiplies matrices.

python benchmarks/matrix_rate.py

Large square products in bfloat16, by the same library as training's. The
share of this rate that a training step reaches is its own products over
what the machine could have multiplied meanwhile.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def matrix_rate(
    device: str = 'cpu', size: int = 4096, repeats: int = 5
) -> float:
    """Operations a second of a (size, size) product in bfloat16, median.

    Args:
        device: Where.
        size: Rows and columns.
        repeats: Products that are timed, after one that is not.
    """
    left, right = (
        torch.randn(size, size, device=device).bfloat16() for _ in range(2)
    )
    seconds = [timed(lambda: left @ right, device) for _ in range(repeats + 1)]
    return 2 * size**3 / statistics.median(seconds[1:])


def timed(function: Callable[[], Any], device: str = 'cpu') -> float:
    """Seconds that a call takes, its work on the device included.

    Args:
        function: What is called.
        device: Waited for before and after, unless it is a CPU.
    """
    _wait(device)
    start = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device != 'cpu':
        torch.accelerator.synchronize()


if __name__ == '__main__':
    threads = torch.get_num_threads()
    print(f'{matrix_rate() / 1e9:.0f} Gop/s in bfloat16, {threads} threads')
