"""Lets torchvision be imported where its compiled ops do not load.

A torchvision built for CUDA beside a CPU build of torch is the usual case:
transforms and box utilities need no compiled op, but the import fails for
want of two declarations. They are all that is added: calling the ops fails
with torchvision's own message.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

import torch

from sparc_vlm.compat.imports import after_import

_EXTENSION = 'torchvision.extension'
_SCHEMA = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
# a declaration lives as long as the library object that made it
_declared: list[torch.library.Library] = []


def _declare(extension: ModuleType) -> None:
    """Declares the ops for which torchvision registers shapes on import."""
    if extension._has_ops() or _declared:
        return
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for op in ('nms', 'qnms'):
        library.define(op + _SCHEMA)
    _declared.append(library)


def install() -> None:
    """Declares the missing ops once torchvision has tried to load them."""
    after_import(_EXTENSION, _declare)


def status() -> str:
    """'native', 'absent', or 'stand-in: ' and what is only declared."""
    if importlib.util.find_spec('torchvision') is None:
        return 'absent'
    if importlib.import_module(_EXTENSION)._has_ops():
        return 'native'
    return 'stand-in: import only, no compiled ops'
