"""cos(c_l, t_l) of attention-grouped patches, without making any c_l.

With weights a of a token over the P patches of an image and the patches'
inner products G, <c, t> is the weighted mean of the scores and |c|^2 = a G a:
P products a token and image in place of D, and no (pairs, L, D) tensor.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# |c| is not taken to be shorter, as in torch's own normalisation.
SHORTEST = 1e-12


def grouped_cosines(
    tokens: Tensor, patches: Tensor, products: Tensor
) -> Tensor:
    """Cosine of each token with the patches it attends to, in each image.

    The large products follow autocast; softmax and lengths do not.

    Args:
        tokens: (n, D) tokens.
        patches: (r, P, D) patches of some images.
        products: (r, P, P) inner products of the patches of each image.

    Returns:
        (n, r) cosines.
    """
    device = tokens.device.type
    kind = tokens.dtype
    if torch.is_autocast_enabled(device) and kind != torch.float64:
        kind = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        width = math.sqrt(tokens.shape[-1])
        inner, square = _Attention.apply(
            tokens / width, patches, products, kind
        )
        lengths = square.clamp(min=SHORTEST**2).sqrt()
        norms = tokens.norm(dim=-1).clamp(min=SHORTEST)
        return width * inner / (lengths * norms[:, None])


class _Attention(torch.autograd.Function):
    """(n, r) sum_p a_p s_p and a G a, for s = T V' and a = softmax(s)."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        patches: Tensor,
        products: Tensor,
        kind: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        shape = len(tokens), *patches.shape[:2]
        flat = patches.flatten(0, 1)
        scores = (tokens.to(kind) @ flat.to(kind).T).view(shape)
        scores = scores.to(tokens.dtype)
        weights = scores.softmax(-1)
        # Image by image, (r, n, P), for the products; token by token for all
        # else. Copies are cheaper than arithmetic across two layouts.
        by_image = weights.to(kind).transpose(0, 1).contiguous()
        weighed = torch.bmm(by_image, products.to(kind))
        weighed = weighed.transpose(0, 1).contiguous().to(tokens.dtype)
        inner = (weights * scores).sum(-1)
        square = (weights * weighed).sum(-1)
        if any(ctx.needs_input_grad):
            ctx.kind = kind
            small = inner, square
            ctx.save_for_backward(
                tokens, flat, scores, weights, by_image, weighed, *small
            )
        return inner, square

    @staticmethod
    def backward(
        ctx: Any, to_inner: Tensor, to_square: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        tokens, flat, scores, weights, by_image, weighed, *small = (
            ctx.saved_tensors
        )
        inner, square = small
        kind = ctx.kind
        # d inner / d s_p = a_p (s_p - inner + 1)
        # d square / d s_p = 2 a_p ((G a)_p - square)
        twice = 2 * to_square
        constant = to_inner * (1 - inner) - twice * square
        slope = torch.addcmul(constant[..., None], scores, to_inner[..., None])
        slope.addcmul_(weighed, twice[..., None]).mul_(weights)
        slope = slope.to(kind).flatten(1)
        of_tokens = (slope @ flat.to(kind)).to(tokens.dtype)
        of_patches = (slope.T @ tokens.to(kind)).to(tokens.dtype)
        # d square / d G = a a'
        scaled = by_image * to_square.T[..., None].to(kind)
        of_products = torch.bmm(scaled.transpose(1, 2), by_image)
        of_products = of_products.to(tokens.dtype)
        shape = scores.shape[1], scores.shape[2], -1
        return of_tokens, of_patches.view(shape), of_products, None
