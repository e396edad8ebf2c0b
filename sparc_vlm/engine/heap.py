"""Freed memory stays with the process.

A training step on a CPU frees and asks for the same gigabytes over and over.
glibc hands large blocks back to the system at once, and the system clears
every page anew: time that a step does not have.
"""

from __future__ import annotations

import ctypes

# glibc's malloc.h; mallopt returns 1 if it took the value.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER = -1
USUAL_TRIM, USUAL_MMAPS = 128 * 1024, 65536


def keep_heap(keep: bool = True) -> bool:
    """Has the process keep the memory that it frees, for its next step.

    Its size in the system's eyes then stays what it was at its largest.

    Args:
        keep: False goes back to glibc's usual behaviour.

    Returns:
        Whether the C library could be told; only glibc can.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError):
        return False
    trim = NEVER if keep else USUAL_TRIM
    maps = 0 if keep else USUAL_MMAPS
    return all([mallopt(M_TRIM_THRESHOLD, trim), mallopt(M_MMAP_MAX, maps)])
