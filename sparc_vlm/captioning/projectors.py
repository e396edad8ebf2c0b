"""Projectors: from an image encoder's patches to a language model's tokens.

Each says beforehand how many tokens a grid of patches becomes, since the
length of a conversation depends on it.
"""

from __future__ import annotations

from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.registry import MODELS

Grid = tuple[int, int]
"""Rows and columns of patches."""


@MODELS.register_module()
class MLPProjector(nn.Module):
    """Two layers with a GELU between, a token for each patch.

    That of LLaVA-1.5 (Liu et al., arXiv 2310.03744).

    Args:
        in_dims: Width of a patch.
        out_dims: Width of a token.
    """

    def __init__(self, in_dims: int, out_dims: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_dims, out_dims),
            nn.GELU(),
            nn.Linear(out_dims, out_dims),
        )

    def num_tokens(self, grid: Grid) -> int:
        """Tokens that a grid of patches becomes."""
        return grid[0] * grid[1]

    def forward(self, patches: Tensor, grid: Grid) -> Tensor:
        """(B, P, out_dims) tokens.

        Args:
            patches: (B, P, in_dims) in reading order.
            grid: Not needed here; all projectors are called alike.
        """
        return self.layers(patches)


@MODELS.register_module()
class PixelShuffleProjector(nn.Module):
    """Squares of patches side by side as one wide patch, then two layers.

    As InternVL (Chen et al., arXiv 2404.16821) saves tokens: by the square of
    the factor.

    Args:
        in_dims: Width of a patch.
        out_dims: Width of a token.
        factor: Patches along the side of a square.
        norm: Whether the wide patch is normalised first, as there.

    Raises:
        ValueError: The factor is below 1.
    """

    def __init__(
        self,
        in_dims: int,
        out_dims: int,
        factor: int = 2,
        norm: bool = True,
    ) -> None:
        super().__init__()
        if factor < 1:
            raise UsageError(f'factor must be at least 1, got {factor}')
        self.factor = factor
        wide = in_dims * factor**2
        self.norm = nn.LayerNorm(wide) if norm else nn.Identity()
        self.mlp = MLPProjector(wide, out_dims)

    def num_tokens(self, grid: Grid) -> int:
        """Tokens that a grid of patches becomes.

        Raises:
            ValueError: Squares do not tile it; padding would make tokens of
                which a part is no picture.
        """
        rows, columns = grid
        if rows % self.factor or columns % self.factor:
            raise UsageError(
                f'a grid of {rows} x {columns} patches cannot be cut into '
                f'squares of {self.factor} x {self.factor}: choose another '
                'factor or image size'
            )
        return rows * columns // self.factor**2

    def forward(self, patches: Tensor, grid: Grid) -> Tensor:
        """(B, P / factor^2, out_dims) tokens, in reading order.

        Args:
            patches: (B, P, in_dims) in reading order.
            grid: Their rows and columns.

        Raises:
            ValueError: Squares do not tile the grid.
        """
        tokens = self.num_tokens(grid)
        side = self.factor
        squares = patches.unflatten(1, (-1, side, grid[1] // side, side))
        wide = squares.transpose(2, 3).reshape(len(patches), tokens, -1)
        return self.mlp(self.norm(wide), grid)
