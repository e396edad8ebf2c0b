"""The objectives as their equations read, in plain torch on padded tensors.

What somebody would write who has the papers and no time: every pair of the
batch in one piece, padding masked. `losses` times them beside this package's;
their values and gradients are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.structures import PairEmbeddings

Weights = Mapping[str, Tensor]


def clip(pairs: PairEmbeddings, weights: Weights) -> Tensor:
    """InfoNCE over the batch between global embeddings.

    Args:
        pairs: Embeddings of the batch, as for all functions here.
        weights: Parameters of the objective itself, by name, where it has
            any; as for all functions here.
    """
    images = F.normalize(pairs.image, dim=-1)
    texts = F.normalize(pairs.text, dim=-1)
    return _info_nce(pairs.logit_scale * images @ texts.T)


def siglip(pairs: PairEmbeddings, weights: Weights) -> Tensor:
    """Every pair by a sigmoid; `weights` has the bias."""
    images = F.normalize(pairs.image, dim=-1)
    texts = F.normalize(pairs.text, dim=-1)
    logits = pairs.logit_scale * images @ texts.T + weights['bias']
    signs = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def sparc(pairs: PairEmbeddings, weights: Weights) -> Tensor:
    """Half of CLIP's loss, and the sparse one inside each pair."""
    patches, tokens = pairs.patches, pairs.tokens
    scores = torch.einsum('bld,bpd->blp', tokens, patches)
    low, high = scores.amin(-1, True), scores.amax(-1, True)
    scores = (scores - low) / (high - low)
    kept = torch.where(scores < 1 / patches.shape[1], 0, scores)
    shares = kept / kept.sum(-1, keepdim=True)
    grouped = torch.einsum('blp,bpd->bld', shares, patches)
    local = _caption_info_nce(
        grouped, tokens, pairs.token_mask, pairs.logit_scale
    )
    return 0.5 * clip(pairs, weights) + local


def filip(pairs: PairEmbeddings, weights: Weights) -> Tensor:
    """Each patch with its best token and each token with its best patch."""
    patches = F.normalize(pairs.patches, dim=-1)
    tokens = F.normalize(pairs.tokens, dim=-1)
    mask = pairs.token_mask
    cosines = torch.einsum('ipd,jld->ijpl', patches, tokens)
    padded = cosines.masked_fill(~mask[:, None], -math.inf)
    to_text = padded.max(3).values.mean(2)
    best_patch = cosines.max(2).values * mask
    to_image = best_patch.sum(2) / mask.sum(1)
    scale = pairs.logit_scale
    return _info_nce(scale * to_text, scale * to_image)


def pacl(pairs: PairEmbeddings, weights: Weights) -> Tensor:
    """Global text against patches weighted by their cosine with it."""
    patches = F.normalize(pairs.patches, dim=-1)
    texts = F.normalize(pairs.text, dim=-1)
    shares = torch.einsum('ipd,jd->ijp', patches, texts).softmax(-1)
    pooled = torch.einsum('ijp,ipd->ijd', shares, patches)
    return _info_nce(
        pairs.logit_scale * torch.einsum('ijd,jd->ij', pooled, texts)
    )


def gloria(pairs: PairEmbeddings, weights: Weights) -> Tensor:
    """CLIP's loss, and tokens against what they attend to in each image."""
    patches, tokens, mask = pairs.patches, pairs.tokens, pairs.token_mask
    scores = torch.einsum('jld,ipd->ijlp', tokens, patches)
    attention = (scores / math.sqrt(tokens.shape[-1])).softmax(-1)
    seen = torch.einsum('ijlp,ipd->ijld', attention, patches)
    logits = pairs.logit_scale * F.cosine_similarity(seen, tokens, dim=-1)
    logits = logits.masked_fill(~mask, -math.inf).logsumexp(-1)
    return clip(pairs, weights) + _info_nce(logits)


def mgca(pairs: PairEmbeddings, weights: Weights) -> Tensor:
    """CLIP's loss, cross-attention inside each pair, swapped prototypes."""
    patches, tokens, mask = pairs.patches, pairs.tokens, pairs.token_mask
    scale = pairs.logit_scale

    def attend(way: str, asking: Tensor, asked: Tensor) -> Tensor:
        query, key, value = (
            F.linear(given, weights[f'{way}.{name}.weight'])
            for name, given in zip(
                ('query', 'key', 'value'), (asking, asked, asked), strict=True
            )
        )
        scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        if asked is tokens:
            scores = scores.masked_fill(~mask[:, None], -math.inf)
        read = scores.softmax(-1) @ value
        return F.linear(read, weights[f'{way}.out.weight'])

    seen = attend('tokens_to_patches', tokens, patches)
    read = attend('patches_to_tokens', patches, tokens)
    everywhere = torch.ones_like(patches[..., 0], dtype=torch.bool)
    local = _caption_info_nce(seen, tokens, mask, scale)
    local = local + _caption_info_nce(read, patches, everywhere, scale)

    directions = F.normalize(weights['prototypes.directions'], dim=-1)
    near_image = F.normalize(pairs.image, dim=-1) @ directions.T
    near_text = F.normalize(pairs.text, dim=-1) @ directions.T
    swapped = F.cross_entropy(scale * near_image, _sinkhorn(near_text))
    swapped = swapped + F.cross_entropy(
        scale * near_text, _sinkhorn(near_image)
    )
    return clip(pairs, weights) + local / 2 + swapped / 2


PLAIN: dict[str, Callable[[PairEmbeddings, Weights], Tensor]] = {
    loss.__name__: loss
    for loss in (clip, siglip, sparc, filip, pacl, gloria, mgca)
}


def _info_nce(to_text: Tensor, to_image: Tensor | None = None) -> Tensor:
    """Mean of both directions over (images, captions); one matrix or two."""
    to_image = to_text if to_image is None else to_image
    own = torch.arange(len(to_text), device=to_text.device)
    rows = F.cross_entropy(to_text, own)
    return (rows + F.cross_entropy(to_image.T, own)) / 2


def _caption_info_nce(
    grouped: Tensor, tokens: Tensor, mask: Tensor, scale: Tensor
) -> Tensor:
    """Inside each caption: mean over its tokens, then over the batch."""
    grouped = F.normalize(grouped, dim=-1)
    tokens = F.normalize(tokens, dim=-1)
    logits = scale * torch.einsum('bld,bkd->blk', grouped, tokens)
    places = torch.arange(mask.shape[1], device=mask.device)
    own = torch.where(mask, places, -100)  # cross_entropy passes these over
    losses = sum(
        F.cross_entropy(
            way.masked_fill(~mask[:, None], -math.inf).transpose(1, 2),
            own,
            reduction='none',
        )
        for way in (logits, logits.transpose(1, 2))
    )
    return (losses.sum(1) / mask.sum(1)).mean() / 2


@torch.no_grad()
def _sinkhorn(scores: Tensor) -> Tensor:
    """Shares of prototypes for each sample, each prototype evenly used."""
    codes = (scores / 0.05).exp()
    for _ in range(3):
        codes = codes / codes.sum(0, keepdim=True)
        codes = codes / codes.sum(1, keepdim=True)
    return codes
