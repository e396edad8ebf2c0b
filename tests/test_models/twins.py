"""Slow twins in float64, written from the paper's equations, pair by pair.

Python loops over pairs, tokens and patches; nothing is masked, since every
caption is run alone with its real tokens only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparc_vlm.structures import PairEmbeddings


def assert_close(got: Tensor, slow: Tensor) -> None:
    """Two values are the same; in float64 nothing was float32 on the way."""
    exact = dict(rtol=1e-10, atol=1e-11) if slow.dtype == torch.float64 else {}
    torch.testing.assert_close(got, slow, **exact)


def alignment(tokens: Tensor, patches: Tensor, sigma: float | None) -> Tensor:
    """Equations 2 to 4 for one pair: (L, D), (P, D) -> (L, P)."""
    rows = []
    for token in tokens:
        scores = torch.stack([token @ patch for patch in patches])
        low, high = scores.min(), scores.max()
        if high == low:
            rows.append(torch.full_like(scores, 1 / len(patches)))
            continue
        relative = (scores - low) / (high - low)
        threshold = 1 / len(patches) if sigma is None else sigma
        kept = [r if r >= threshold else r * 0 for r in relative]
        total = sum(kept)
        rows.append(torch.stack([k / total for k in kept]))
    return torch.stack(rows)


def local_losses(
    grouped: Tensor, tokens: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Equation 6 for one pair: each token's loss in both directions."""
    count = len(tokens)
    c = [g / g.norm() for g in grouped]
    t = [token / token.norm() for token in tokens]
    to_token, to_group = [], []
    for i in range(count):
        sims = torch.stack([scale * (c[i] @ t[k]) for k in range(count)])
        to_token.append(-(sims[i] - sims.exp().sum().log()))
        sims = torch.stack([scale * (t[i] @ c[k]) for k in range(count)])
        to_group.append(-(sims[i] - sims.exp().sum().log()))
    return torch.stack(to_token), torch.stack(to_group)


def local_loss(
    pairs: PairEmbeddings,
    average: str = 'sample',
    sigma: float | None = None,
    weights: object = None,
) -> Tensor:
    """L_f of a batch."""
    per_pair = []
    for i in range(len(pairs.image)):
        tokens = pairs.tokens[i][pairs.token_mask[i]]
        patches = pairs.patches[i]
        align = weights or alignment
        a = align(tokens, patches, sigma)
        c = torch.stack(
            [sum(a[j, p] * patches[p] for p in range(len(patches)))
             for j in range(len(tokens))]
        )  # fmt: skip
        forward, back = local_losses(c, tokens, pairs.logit_scale)
        per_pair.append((forward + back) / 2)
    if average == 'sample':
        return torch.stack([losses.mean() for losses in per_pair]).mean()
    return torch.cat(per_pair).mean()


def global_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Equation 1."""
    image = torch.stack([v / v.norm() for v in image])
    text = torch.stack([t / t.norm() for t in text])
    losses = []
    for i in range(len(image)):
        row = torch.stack([scale * (image[i] @ t) for t in text])
        column = torch.stack([scale * (text[i] @ v) for v in image])
        losses.append(-(row[i] - row.exp().sum().log()))
        losses.append(-(column[i] - column.exp().sum().log()))
    return sum(losses) / 2 / len(image)


def random_pairs(
    lengths: list[int],
    patches: int = 6,
    width: int = 8,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> PairEmbeddings:
    """Random embeddings; what stands in the padding is random as well."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(dtype).requires_grad_()

    batch, longest = len(lengths), max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return PairEmbeddings(
        patches=draw(batch, patches, width),
        image=draw(batch, width),
        tokens=draw(batch, longest, width),
        text=draw(batch, width),
        token_mask=mask,
        logit_scale=torch.tensor(5.0, dtype=dtype, requires_grad=True),
    )


def leaves(pairs: PairEmbeddings) -> list[Tensor]:
    """What gradients are taken for."""
    return [
        pairs.patches,
        pairs.image,
        pairs.tokens,
        pairs.text,
        pairs.logit_scale,
    ]
