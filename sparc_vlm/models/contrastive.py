"""Symmetric InfoNCE: over a batch (eq. 1) and inside a caption (eq. 6).

Both return this process's share, scaled so that DDP's mean of gradients over
the processes is the gradient of the joined batch: own sum times the number
of processes over the global count. On one process that is the plain mean.
"""

from __future__ import annotations

from typing import Literal

import torch
from mmengine import dist
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.errors import UsageError
from sparc_vlm.models.cosine import CosineScores, unit
from sparc_vlm.models.gather import gather_rows, global_sum, process_sizes
from sparc_vlm.models.pairwise import Joined, pairwise_info_nce

TokenAverage = Literal['sample', 'token']
# Pairs of one process whose scores are all held at once: 16 MiB of them.
PLAIN_UP_TO = 2048**2


def batch_info_nce(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """Global loss L_g (eq. 1), the mean of both directions.

    Several processes: every process computes its own rows against the
    embeddings of all, gathered with gradients. From `PLAIN_UP_TO` pairs on,
    scores are computed in blocks, and again on the way back, so that memory
    does not grow with the square of the batch.

    Args:
        image: (B, D) global image embeddings; normalised here.
        text: (B, D) global text embeddings; normalised here.
        logit_scale: scalar, 1 / temperature.

    Returns:
        Scalar loss.
    """
    with torch.autocast(image.device.type, enabled=False):
        image, text = unit(image), unit(text)
        sizes = process_sizes(len(image), image.device)
        texts = gather_rows(text, sizes)
        if max(sizes) * sum(sizes) > PLAIN_UP_TO:
            return pairwise_info_nce(
                CosineScores(),
                (image,),
                (texts.rows,),
                (logit_scale,),
                Joined.here(sizes),
            )
        images = gather_rows(image, sizes)
        own = texts.start + torch.arange(len(image), device=image.device)
        scale = logit_scale.to(image.dtype)
        to_text = F.cross_entropy(
            scale * image @ texts.rows.T, own, reduction='sum'
        )
        to_image = F.cross_entropy(
            scale * text @ images.rows.T, own, reduction='sum'
        )
        return (to_text + to_image) / 2 * (len(sizes) / sum(sizes))


def caption_info_nce(
    grouped: Tensor,
    tokens: Tensor,
    token_mask: Tensor,
    logit_scale: Tensor,
    average: TokenAverage = 'sample',
    ignored: Tensor | None = None,
) -> Tensor:
    """Local loss L_f (eq. 6): c_l against the t_k of its own caption.

    Padding is neither an anchor nor a negative. A caption of one token has
    nothing to tell apart: its loss is 0, and it counts in the mean over the
    batch; so does a caption without any real token.

    Args:
        grouped: (B, L, D) language-grouped vision embeddings c_l.
        tokens: (B, L, D) token embeddings t_l.
        token_mask: (B, L) bool, True on real tokens.
        logit_scale: scalar, 1 / temperature.
        average: 'sample' is the text's equation 6 (mean over a caption's
            tokens, then over the batch); 'token' is the appendix's
            pseudo-code (mean over all real tokens of the batch).
        ignored: (B, L, L) bool, negatives to leave out, see `token_losses`.

    Returns:
        Scalar loss, the mean of both directions.

    Raises:
        ValueError: An average that is neither of the two.
    """
    losses = token_losses(grouped, tokens, token_mask, logit_scale, ignored)
    return average_tokens(losses, token_mask, average)


def average_tokens(
    losses: Tensor, token_mask: Tensor, average: TokenAverage = 'sample'
) -> Tensor:
    """This process's share of the mean of the tokens' losses.

    Args:
        losses: (B, L), 0 where `token_mask` is False.
        token_mask: (B, L) bool, True on real tokens.
        average: As for `caption_info_nce`.

    Returns:
        Scalar loss.

    Raises:
        ValueError: An average that is neither of the two.
    """
    lengths = token_mask.sum(1)
    if average == 'sample':
        own = (losses.sum(1) / lengths.clamp(min=1)).sum()
        count = lengths.new_full((), len(losses))
    elif average == 'token':
        own, count = losses.sum(), lengths.sum()
    else:
        raise UsageError(
            f"average must be 'sample' or 'token', got {average!r}"
        )
    count = global_sum(count).clamp(min=1)
    # In this order: an int over a tensor of ints would be float32.
    return own * dist.get_world_size() / count


def token_losses(
    grouped: Tensor,
    tokens: Tensor,
    token_mask: Tensor,
    logit_scale: Tensor,
    ignored: Tensor | None = None,
) -> Tensor:
    """The loss of every token, mean of its two directions.

    Args:
        grouped: (B, L, D) language-grouped vision embeddings c_l.
        tokens: (B, L, D) token embeddings t_l; padding must be finite.
        token_mask: (B, L) bool, True on real tokens.
        logit_scale: scalar, 1 / temperature.
        ignored: (B, L, L) bool, True at [b, l, k] where token k is no
            negative of token l, in either direction (beyond the paper, see
            `words.same_meaning`). The matched pair itself always stays.

    Returns:
        (B, L), 0 where `token_mask` is False, and where nothing but the
        matched pair is left.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        grouped, tokens = unit(grouped), unit(tokens)
        scale = logit_scale.to(tokens.dtype)
        logits = scale * grouped @ tokens.transpose(1, 2)
        matched = logits.diagonal(dim1=1, dim2=2)
        # A caption without real tokens keeps its zeros: a row of -inf alone
        # has no gradient, and its losses are dropped below.
        out = ~(token_mask | ~token_mask.any(1, keepdim=True))
        # What is out for the anchor l (rows), and for the anchor k (columns).
        out_of_row, out_of_column = out[:, None, :], out[:, :, None]
        if ignored is not None:
            ignored = ignored & token_mask[:, :, None]
            ignored = ignored & ~torch.eye(
                ignored.shape[1], dtype=torch.bool, device=ignored.device
            )
            out_of_row = out_of_row | ignored
            out_of_column = out_of_column | ignored.transpose(1, 2)
        to_token = logits.masked_fill(out_of_row, -torch.inf)
        to_group = logits.masked_fill(out_of_column, -torch.inf)
        normaliser = (to_token.logsumexp(2) + to_group.logsumexp(1)) / 2
        return torch.where(token_mask, normaliser - matched, 0.0)
