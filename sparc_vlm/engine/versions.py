"""The versions that a result or a checkpoint was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    'sparc_vlm',
    'torch',
    'torchvision',
    'mmengine',
    'mmpretrain',
    'transformers',
    'tokenizers',
    'numpy',
)


def versions() -> dict[str, str]:
    """Name to version of what decides a run; what is missing is left out."""
    found = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
