"""Where the patches of a padded batch are, and the boxes they begin with.

Boxes are shares of a picture's own whole patches, so that what they begin
with does not depend on how far the batch is padded. What patches are made of
does: attention sees the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-4
"""Logits are taken of shares that are at least so far from 0 and 1."""


class PatchGrid(NamedTuple):
    """The patches of B pictures that were padded to one size.

    Attributes:
        sizes: (B, 2) int64, rows and columns of each picture's own patches.
        rows: Rows of the padded pictures.
        columns: Columns of the padded pictures.
        side: Side of a patch in pixels.
    """

    sizes: Tensor
    rows: int
    columns: int
    side: int

    @property
    def mask(self) -> Tensor:
        """(B, P) bool, True on patches that show some of the picture."""
        rows, columns = self._places()
        own_rows, own_columns = self.sizes.unsqueeze(-1).unbind(1)
        return (rows < own_rows) & (columns < own_columns)

    @property
    def extents(self) -> Tensor:
        """(B, 4) width, height, width, height of each picture in pixels."""
        return (self.sizes.flip(1) * self.side).repeat(1, 2)

    def box_bias(self) -> Tensor:
        """(B, P, 4) logits of a box as large as its patch and upon it.

        OWL-ViT's box bias: x and y of the centre, width and height.
        """
        rows, columns = self._places()
        places = torch.stack([columns, rows], -1)
        sizes = self.sizes.flip(1)[:, None]
        centres = (places + 0.5) / sizes
        shares = torch.cat([centres, (1 / sizes).expand_as(centres)], -1)
        return torch.logit(shares, EPS)

    def _places(self) -> tuple[Tensor, Tensor]:
        """(P,) row and (P,) column of each patch, in reading order."""
        places = torch.arange(
            self.rows * self.columns, device=self.sizes.device
        )
        return places // self.columns, places % self.columns


def patch_grid(
    shapes: Sequence[tuple[int, int]],
    grid: tuple[int, int],
    side: int,
    device: torch.device,
) -> PatchGrid:
    """The grid of a batch.

    Args:
        shapes: Height and width of each picture in pixels, padding left out.
        grid: Rows and columns of the padded pictures' patches.
        side: Of a patch in pixels.
        device: Where the predictions are.
    """
    sizes = [[-(-size // side) for size in shape[:2]] for shape in shapes]
    return PatchGrid(torch.tensor(sizes, device=device), *grid, side)
