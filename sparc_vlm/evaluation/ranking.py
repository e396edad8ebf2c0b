"""Ranks of right candidates among wrong ones, for retrieval both ways.

Scores are made and counted block by block; the full matrix of pictures
times captions is never held.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

TIE = 1e-6
"""Cosines nearer than this are ties: float32 cannot tell them apart."""


@dataclass(frozen=True)
class Ranks:
    """Where the right candidates of each of Q queries stand.

    Attributes:
        above: (Q,) wrong candidates that score more than the best right one.
        tied: (Q,) wrong candidates that score the same as it.
        right: (Q,) right candidates that score the same as it, itself
            included.
        top: (Q,) index of the candidate with the highest score.
    """

    above: Tensor
    tied: Tensor
    right: Tensor
    top: Tensor

    def recall(self, k: int) -> Tensor:
        """(Q,) probability that a right candidate is among the first k.

        Candidates that tie stand in random order, so a model that scores
        everything alike gets chance, neither 0 nor 100%.
        """
        places = torch.clamp(k - self.above, min=0)
        return hit_probability(places, self.right, self.tied)

    @property
    def expected(self) -> Tensor:
        """(Q,) expected rank of the first right candidate, from 1 on."""
        return 1 + self.above + self.tied / (self.right + 1.0)


def hit_probability(places: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Probability that `places` draws without replacement meet a right one.

    1 - C(wrong, places) / C(right + wrong, places), per element.
    """
    places = torch.minimum(places, right + wrong).double()
    right, wrong = right.double(), wrong.double()

    def log_choose(n: Tensor, k: Tensor) -> Tensor:
        return torch.lgamma(n + 1) - torch.lgamma(n - k + 1)

    # The k! of both binomials cancels.
    missed = torch.exp(
        log_choose(torch.maximum(wrong, places), places)
        - log_choose(right + wrong, places)
    )
    return 1 - torch.where(places > wrong, 0.0, missed)


# Tasks run under autocast while training; bf16 scores would tie at random.
@torch.autocast('cpu', enabled=False)
def rank_both_ways(
    images: Tensor, texts: Tensor, owners: Tensor, block: int = 1024
) -> tuple[Ranks, Ranks]:
    """Ranks of image-to-text and of text-to-image retrieval by cosine.

    Args:
        images: (N, D) global image embeddings.
        texts: (M, D) global text embeddings.
        owners: (M,) index of the picture that each text describes.
        block: Rows of a block of scores, which has four times as many
            columns; 1024 holds 16 MB in float32.

    Returns:
        Ranks of the pictures' own texts, for the pictures that have one, in
        their order; ranks of the texts' own pictures.
    """
    images, texts = unit_rows(images), unit_rows(texts)
    own = (images[owners] * texts).sum(1)
    best = images.new_full((len(images),), -torch.inf)
    best = best.scatter_reduce(0, owners, own, 'amax')
    ties = (own >= best[owners] - TIE).long()
    right = torch.zeros(len(images), dtype=torch.long)
    i2t = Ranks(
        above=torch.zeros(len(images), dtype=torch.long),
        tied=torch.zeros(len(images), dtype=torch.long),
        right=right.scatter_add(0, owners, ties),
        top=torch.zeros(len(images), dtype=torch.long),
    )
    t2i = Ranks(
        above=torch.zeros(len(texts), dtype=torch.long),
        tied=torch.zeros(len(texts), dtype=torch.long),
        right=torch.ones(len(texts), dtype=torch.long),
        top=torch.zeros(len(texts), dtype=torch.long),
    )
    highest_text = images.new_full((len(images),), -torch.inf)
    highest_image = texts.new_full((len(texts),), -torch.inf)
    for top in range(0, len(images), block):
        rows = slice(top, min(top + block, len(images)))
        numbers = torch.arange(rows.start, rows.stop)
        for left in range(0, len(texts), 4 * block):
            columns = slice(left, min(left + 4 * block, len(texts)))
            scores = images[rows] @ texts[columns].T
            wrong = owners[columns] != numbers[:, None]
            _count(i2t, rows, scores, wrong, best[rows, None], 1)
            _count(t2i, columns, scores, wrong, own[columns], 0)
            _keep_top(i2t, highest_text, rows, scores, left, 1)
            _keep_top(t2i, highest_image, columns, scores, top, 0)
    described = torch.isfinite(best)
    kept = (i2t.above, i2t.tied, i2t.right, i2t.top)
    return Ranks(*(values[described] for values in kept)), t2i


def unit_rows(embeddings: Tensor) -> Tensor:
    """Rows of length 1; a row that is not finite becomes zeros.

    A NaN compares false with everything, which would count as rank 1; zeros
    tie with everything and score chance.
    """
    finite = torch.isfinite(embeddings).all(1, keepdim=True)
    return F.normalize(torch.where(finite, embeddings, 0.0).float(), dim=1)


def _count(
    ranks: Ranks,
    at: slice,
    scores: Tensor,
    wrong: Tensor,
    target: Tensor,
    dim: int,
) -> None:
    """Adds a block's wrong candidates to the queries that it covers."""
    above = (scores > target + TIE) & wrong
    near = (scores >= target - TIE) & wrong
    ranks.above[at] += above.sum(dim)
    ranks.tied[at] += (near & ~above).sum(dim)


def _keep_top(
    ranks: Ranks,
    highest: Tensor,
    at: slice,
    scores: Tensor,
    offset: int,
    dim: int,
) -> None:
    """Keeps the candidate with the highest score; of ties, the first."""
    value, index = scores.max(dim)
    better = value > highest[at]
    ranks.top[at] = torch.where(better, index + offset, ranks.top[at])
    highest[at] = torch.where(better, value, highest[at])
