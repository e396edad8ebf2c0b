"""What the pinned stack needs to run without compiled ops, or fast enough.

Each stand-in waits in Python's import system until the library that it
mends is imported, so that importing this costs nothing, and stands aside
where the real thing exists.
"""

from __future__ import annotations

import warnings

from sparc_vlm.compat import (
    config_text,
    lvis_numpy,
    mmcv_ops,
    torchvision_ops,
    transformers_names,
)

__all__ = ['install', 'status']


def install() -> None:
    """Puts every stand-in in place; a second call changes nothing."""
    mmcv_ops.install()
    torchvision_ops.install()
    transformers_names.install()
    lvis_numpy.install()
    config_text.install()
    # mmengine asks for it, and the version that still has it is pinned.
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')


def status() -> dict[str, str]:
    """Says what is native and what is stood in, for bug reports.

    Imports the libraries in order to find out.

    Returns:
        For 'mmcv', 'torchvision', 'transformers' and 'lvis': 'native',
        'stand-in: ' and what it covers, or 'absent'.
    """
    install()
    return {
        'mmcv': mmcv_ops.status(),
        'torchvision': torchvision_ops.status(),
        'transformers': transformers_names.status(),
        'lvis': lvis_numpy.status(),
    }
