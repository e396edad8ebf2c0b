"""g_v and h_v: from an image encoder's width to the shared one."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from sparc_vlm.errors import UsageError

AdapterKind = Literal['linear', 'residual']


class ResidualAdapter(nn.Module):
    """PACL's adapter: a linear map plus a two-layer MLP beside it.

    Where the sources are silent: GELU between the layers, which are as wide
    as the output; no bias in the linear map, as in g_v.

    Args:
        in_features: Width of the encoder.
        out_features: D, the shared width.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(in_features, out_features),
            nn.GELU(),
            nn.Linear(out_features, out_features),
        )

    def forward(self, values: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return self.linear(values) + self.mlp(values)


def build_adapter(kind: AdapterKind, width: int, dims: int) -> nn.Module:
    """g_v by its name.

    Args:
        kind: 'linear' is the paper's, 'residual' PACL's.
        width: Of the encoder.
        dims: D, the shared width.

    Raises:
        ValueError: Another name.
    """
    if kind == 'linear':
        return nn.Linear(width, dims, bias=False)
    if kind == 'residual':
        return ResidualAdapter(width, dims)
    raise UsageError(
        f"vision_adapter must be 'linear' or 'residual', got {kind!r}"
    )


def build_head(width: int, objective: nn.Module) -> nn.Module:
    """h_v, or nothing where the objective would leave it untrained.

    Args:
        width: Of the encoder.
        objective: Its `is_global` says whether it looks at the global image
            embedding; one that does not say so does.
    """
    if getattr(objective, 'is_global', True):
        return nn.Sequential(nn.Linear(width, width), nn.GELU())
    return nn.Identity()
