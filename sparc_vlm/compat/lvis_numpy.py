"""Lets lvis 0.5.3 count with a numpy that has no `np.float` any more.

The module that adds up average precision gets a numpy of its own in which
the name is there; everybody else's stays as it is.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any

import numpy as np

from sparc_vlm.compat.imports import after_import

_MODULE = 'lvis.eval'


class _NumpyWithFloat(ModuleType):
    """numpy, and the name that it had for Python's own float."""

    float = float

    def __getattr__(self, name: str) -> Any:
        """Whatever numpy has."""
        return getattr(np, name)


def _give_float(module: ModuleType) -> None:
    """Puts it in the place of the module's numpy, where that lacks float."""
    if not hasattr(module.np, 'float'):
        module.np = _NumpyWithFloat('numpy')


def install() -> None:
    """Gives lvis its float once it is imported."""
    after_import(_MODULE, _give_float)


def status() -> str:
    """'native', 'absent', or 'stand-in: ' and the name that is put back."""
    if importlib.util.find_spec('lvis') is None:
        return 'absent'
    own = importlib.import_module(_MODULE).np
    return 'stand-in: float' if own is not np else 'native'
