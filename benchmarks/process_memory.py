"""The most memory that a process ever held."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def resident() -> int:
    """Most memory that this process ever held, in bytes."""
    status = Path('/proc/self/status')
    if status.is_file():
        found = re.search(r'VmHWM:\s*(\d+) kB', status.read_text())
        if found:
            return int(found[1]) * 1024
    # On Linux this would count what the parent held when it started us.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == 'darwin' else most * 1024
