"""Unit vectors, and cosines of global embeddings as scores of pairs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.models.pairwise_blocks import Tensors, wide


class CosineScores:
    """scale cos(v_i, t_j), plus a bias where the loss has one.

    Rows are (v,), columns (t,), shared tensors (scale,) or (scale, bias).
    Never in half precision: the products are cheap, and the temperature
    makes their rounding a hundred times larger.
    """

    def prepare(self, rows: Tensors) -> Tensors:
        """(r, D) unit image embeddings."""
        return (unit(rows[0]),)

    def __call__(
        self, rows: Tensors, columns: Tensors, shared: Tensors
    ) -> Tensor:
        """(r, c) scores, see `pairwise_blocks.PairScores`."""
        with torch.autocast(rows[0].device.type, enabled=False):
            cosines = rows[0] @ unit(columns[0]).T
        scale, *bias = shared
        return sum(bias, start=scale * cosines)

    def pair_bytes(self, rows: Tensors, columns: Tensors) -> int:
        """The score, its gradient, and what the loss makes of them."""
        return 8 * rows[0].element_size()


def unit(values: Tensor) -> Tensor:
    """L2-normalises the last axis, in float32 or wider."""
    return F.normalize(wide(values), dim=-1)
