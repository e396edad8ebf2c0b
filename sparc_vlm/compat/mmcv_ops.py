"""A stand-in for `mmcv._ext`, the compiled ops that mmcv-lite leaves out.

MMDetection imports them all and, in its usual detectors, calls a few: NMS,
RoIAlign and, on a GPU, sigmoid focal loss and deformable attention. Those are
here in plain torch; any other fails by its name when it is called.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from torch import Tensor

from sparc_vlm.compat.deformable import (
    ms_deform_attn_backward,
    ms_deform_attn_forward,
)
from sparc_vlm.compat.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
)
from sparc_vlm.compat.nms import nms
from sparc_vlm.compat.precision import precise
from sparc_vlm.compat.roi_align import Pooling, pool, spread
from sparc_vlm.errors import UnsupportedError

_EXTENSION = 'mmcv._ext'


def _pooling(
    features: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> Pooling:
    """Reads the settings that mmcv hands to RoIAlign.

    Raises:
        NotImplementedError: Maximum pooling is asked for.
    """
    if pool_mode != 1:
        raise UnsupportedError(
            "mmcv's op 'roi_align' with pool_mode='max' exists compiled "
            "only: use pool_mode='avg', or install mmcv 2.1 with its ops in "
            'place of mmcv-lite'
        )
    batch, _, height, width = features.shape
    return Pooling(
        (batch, height, width),
        (aligned_height, aligned_width),
        spatial_scale,
        sampling_ratio,
        aligned,
    )


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    **settings: Any,
) -> None:
    """Pools each region into a grid of bins.

    Args:
        input: (B, C, H, W) features.
        rois: (K, 5) image of the batch and x1, y1, x2, y2 of each region.
        output: (K, C, rows, columns), filled here.
        argmax_y: Unused by average pooling.
        argmax_x: Unused by average pooling.
        **settings: As mmcv hands them on, see `_pooling`.
    """
    features = precise(input)
    pooling = _pooling(input, **settings)
    output.copy_(pool(features, rois.to(features.dtype), pooling))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    **settings: Any,
) -> None:
    """Adds the gradient with respect to the features.

    Args:
        grad_output: (K, C, rows, columns) gradient of the output.
        rois: (K, 5) image of the batch and x1, y1, x2, y2 of each region.
        argmax_y: Unused by average pooling.
        argmax_x: Unused by average pooling.
        grad_input: (B, C, H, W), added to here.
        **settings: As mmcv hands them on, see `_pooling`.
    """
    grad = precise(grad_output)
    pooling = _pooling(grad_input, **settings)
    grad_input += spread(grad, rois.to(grad.dtype), pooling)


_OPS = (
    nms,
    roi_align_forward,
    roi_align_backward,
    sigmoid_focal_loss_forward,
    sigmoid_focal_loss_backward,
    ms_deform_attn_forward,
    ms_deform_attn_backward,
)


def _missing(name: str) -> Callable[..., None]:
    """An op that can be imported and, when called, says what it needs.

    Raises:
        AttributeError: Python asks for a special name, which is no op.
    """
    if name.startswith('__'):
        raise AttributeError(name)

    def op(*args: object, **kwargs: object) -> None:
        raise UnsupportedError(
            f"mmcv's op {name!r} exists compiled only: install mmcv 2.1 "
            'with its ops in place of mmcv-lite'
        )

    op.__name__ = op.__qualname__ = name
    return op


class _StandIn(Loader):
    """Fills the module with the ops that there are."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leaves making an empty module to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Adds the ops, and an answer for all others."""
        for op in _OPS:
            setattr(module, op.__name__, op)
        module.__getattr__ = _missing


class _LastFinder(MetaPathFinder):
    """Offers the stand-in to whoever imports the ops.

    It is the last that Python asks, so compiled ops are found before it.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The stand-in's spec for `mmcv._ext`, nothing for all others."""
        if fullname != _EXTENSION:
            return None
        return ModuleSpec(fullname, _StandIn(), origin=__file__)


def install() -> None:
    """Offers the stand-in wherever there are no compiled ops."""
    if not any(isinstance(f, _LastFinder) for f in sys.meta_path):
        sys.meta_path.append(_LastFinder())


def status() -> str:
    """'native', 'absent', or 'stand-in: ' and the ops that there are."""
    if importlib.util.find_spec('mmcv') is None:
        return 'absent'
    spec = importlib.util.find_spec(_EXTENSION)
    if spec is None or not isinstance(spec.loader, _StandIn):
        return 'native'
    return 'stand-in: ' + ', '.join(op.__name__ for op in _OPS)
