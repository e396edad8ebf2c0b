"""All pairs of a batch at once, as the paper computed them.

FILIP, GLoRIA and PACL work in blocks here, make no vector that they can do
without, and score each pair once in the world. The paper's counts fit plain
transcriptions: every device scores its own images against all captions, then
all images against its own captions, each in one piece that is kept for the
way back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.models.cosine import unit
from sparc_vlm.models.gather import gather_rows
from sparc_vlm.models.objectives import filip, gloria, pacl
from sparc_vlm.models.pairwise import Joined

Scores = Callable[..., Tensor]


@dataclass
class Asked:
    """Whether an objective asked for scores of all pairs."""

    yes: bool = False


@contextmanager
def all_pairs_at_once() -> Iterator[Asked]:
    """Contrasts over patches of all pairs are computed in one piece in here.

    Yields:
        Whether there was one; to be read afterwards.
    """
    asked = Asked()
    with ExitStack() as stack:
        for module, scores in (
            (filip, late_interaction),
            (gloria, word_attention),
            (pacl, patch_pooling),
        ):
            contrast = _contrast_with(scores, asked)
            stack.enter_context(
                mock.patch.object(module, 'pairwise_info_nce', contrast)
            )
        yield asked


def late_interaction(
    patches: Tensor,
    tokens: Tensor,
    mask: Tensor,
    scale: Tensor,
    is_to_text: bool,
) -> Tensor:
    """FILIP's scores, of one direction.

    Args:
        patches: (r, P, D) of some images.
        tokens: (c, L, D) of some captions.
        mask: (c, L) bool, the tokens that are kept.
        scale: scalar, 1 / temperature.
        is_to_text: Each patch with its best token, else the other way round.

    Returns:
        (r, c).
    """
    kept = mask.sum(1, keepdim=True)
    order = (~mask).long().argsort(dim=1, stable=True)[:, : int(kept.max())]
    tokens = tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[2]))
    mask = mask.gather(1, order)
    cosines = torch.einsum('rpd,cld->rcpl', unit(patches), unit(tokens))
    if is_to_text:
        cosines = cosines.masked_fill(~mask[:, None, :], -torch.inf)
        return scale * cosines.amax(3).mean(2)
    best = cosines.amax(2).masked_fill(~mask, 0.0)
    return scale * best.sum(2) / kept.T


def word_attention(
    patches: Tensor, tokens: Tensor, mask: Tensor, scale: Tensor, *_: Any
) -> Tensor:
    """GLoRIA's scores; Args and Returns as in `late_interaction`."""
    width = tokens.shape[-1]
    scores = torch.einsum('cld,rpd->rclp', tokens, patches)
    weights = (scores / math.sqrt(width)).softmax(-1)
    # a product of matrices for each image
    grouped = weights.flatten(1, 2).to(patches.dtype) @ patches
    grouped = grouped.unflatten(1, tokens.shape[:2])
    cosines = F.cosine_similarity(grouped, tokens, dim=-1)
    return (scale * cosines).masked_fill(~mask, -torch.inf).logsumexp(-1)


def patch_pooling(
    patches: Tensor, texts: Tensor, scale: Tensor, *_: Any
) -> Tensor:
    """PACL's scores, with `texts` (c, D); otherwise as `late_interaction`."""
    patches, texts = unit(patches), unit(texts)
    cosines = torch.einsum('rpd,cd->rcp', patches, texts)
    pooled = cosines.softmax(-1).to(patches.dtype) @ patches
    return scale * (pooled * texts).sum(-1)


def _contrast_with(scores: Scores, asked: Asked) -> Callable[..., Tensor]:
    def contrast(
        _: Any,
        rows: tuple[Tensor, ...],
        columns: tuple[Tensor, ...],
        shared: tuple[Tensor, ...],
        joined: Joined,
        **__: Any,
    ) -> Tensor:
        """In place of `pairwise_info_nce`."""
        asked.yes = True
        sizes, start = joined
        stop = start + len(rows[0])
        images = [gather_rows(tensor, sizes).rows for tensor in rows]
        captions = [tensor[start:stop] for tensor in columns]
        to_text = scores(*rows, *columns, *shared, True)
        to_image = scores(*images, *captions, *shared, False).T
        own = torch.arange(start, stop, device=to_text.device)
        both = [
            F.cross_entropy(logits.float(), own, reduction='sum')
            for logits in (to_text, to_image)
        ]
        return sum(both) / 2 * (len(sizes) / sum(sizes))

    return contrast
