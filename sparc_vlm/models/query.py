"""A query of the alignment's own, so that t_l does not pick its own match.

In equation 2 the token that looks for patches is also what the patches found
are compared with. With a small projection of both sides for the looking, the
two may differ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparc_vlm.errors import UsageError


class QueryProjection(nn.Module):
    """Tokens to queries and patches to keys, both linear and without bias.

    Args:
        embed_dims: D, the shared width.
        dims: Width in which queries and keys meet.

    Raises:
        ValueError: A width below 1.
    """

    def __init__(self, embed_dims: int, dims: int = 64) -> None:
        super().__init__()
        if min(embed_dims, dims) < 1:
            raise UsageError(
                'a query projection needs widths of at least 1, got '
                f'embed_dims={embed_dims}, dims={dims}'
            )
        self.query = nn.Linear(embed_dims, dims, bias=False)
        self.key = nn.Linear(embed_dims, dims, bias=False)
        # One random projection for both: in expectation, the products begin
        # as those of the vectors themselves.
        nn.init.normal_(self.query.weight, std=math.sqrt(1 / dims))
        self.key.load_state_dict(self.query.state_dict())

    def forward(
        self, tokens: Tensor, patches: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, L, D) and (B, P, D) to (B, L, dims) and (B, P, dims).

        In float32 whatever autocast says, since what the scores are made of
        decides which patches are kept.
        """
        kind = torch.promote_types(tokens.dtype, self.query.weight.dtype)
        with torch.autocast(tokens.device.type, enabled=False):
            return (
                F.linear(tokens.to(kind), self.query.weight.to(kind)),
                F.linear(patches.to(kind), self.key.weight.to(kind)),
            )
