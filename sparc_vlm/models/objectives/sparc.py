"""SPARC: the global loss plus a local one inside each pair (equation 7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.models.alignment import group_patches
from sparc_vlm.models.contrastive import (
    TokenAverage,
    average_tokens,
    batch_info_nce,
    token_losses,
)
from sparc_vlm.models.cross_image import cross_image_info_nce
from sparc_vlm.models.diagnostics import (
    effective_patches,
    first_pairs,
    rolled_loss,
)
from sparc_vlm.models.length_parts import (
    join_parts,
    parts_by_length,
)
from sparc_vlm.models.pairwise_blocks import wide
from sparc_vlm.models.query import QueryProjection
from sparc_vlm.models.sparsify import build_alignment
from sparc_vlm.models.temperature import (
    keep_in_range,
    learned_log_scale,
    logit_scale,
)
from sparc_vlm.models.words import (
    pool_patch_mask,
    pool_words,
    same_meaning,
    word_ids,
)
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import PairEmbeddings


@MODELS.register_module()
class SPARC(nn.Module):
    """L = lambda_g L_g + lambda_f L_f (eq. 7).

    Where the paper is silent: begin/end marks are not tokens of the caption
    (they name nothing in the picture), so they are left out of L.

    Args:
        global_weight: lambda_g.
        local_weight: lambda_f; the paper sweeps {0.5, 1, 5, 10}.
        threshold: sigma of equation 3; None means 1 / P.
        alignment: 'sparse' is the method; 'dense' (no threshold) and
            'softmax' are the ablations of table 8; others are in
            `sparsify.build_alignment`.
        token_average: 'sample' (equation 6) or 'token' (the appendix's
            pseudo-code); they differ where captions differ in length.
        alignment_options: More arguments of the alignment, such as
            `temperature` or `k`. What follows goes beyond the paper too.
        cross_image: K, images of this process's batch that each token must
            prefer its own over, see `cross_image`; 0 turns it off.
        cross_image_weight: Weight of that loss.
        query: Arguments of a `QueryProjection` for the alignment; None
            aligns the embeddings themselves.
        words: Pools the pieces of a word into one token first.
        same_meaning: Arguments of `words.same_meaning`, such as
            `dict(limit=0.9)`: tokens of a caption that mean the same are no
            negatives. None takes every other token for a negative.
        local_temperature: Where a temperature of the local losses' own
            starts, learned as the global one is; None shares that one, as
            the paper does.

    Raises:
        ValueError: A name that is not one of those above, or an option that
            the alignment does not have.
    """

    is_local = True
    takes_masks = True

    def __init__(
        self,
        global_weight: float = 0.5,
        local_weight: float = 1.0,
        threshold: float | None = None,
        alignment: str = 'sparse',
        token_average: TokenAverage = 'sample',
        alignment_options: dict[str, Any] | None = None,
        cross_image: int = 0,
        cross_image_weight: float = 1.0,
        query: dict[str, Any] | None = None,
        words: bool = False,
        same_meaning: dict[str, Any] | None = None,
        local_temperature: float | None = None,
    ) -> None:
        super().__init__()
        if token_average not in ('sample', 'token'):
            raise UsageError(
                f"token_average must be 'sample' or 'token', got "
                f'{token_average!r}'
            )
        if cross_image < 0:
            raise UsageError(
                f'cross_image counts other images: at least 0, got '
                f'{cross_image}'
            )
        options = dict(alignment_options or {})
        if options.pop('threshold', threshold) != threshold:
            raise UsageError('give threshold once, not in alignment_options')
        self.weigh = build_alignment(alignment, threshold=threshold, **options)
        self.query = None if query is None else QueryProjection(**query)
        self.global_weight = global_weight
        self.local_weight = local_weight
        self.token_average = token_average
        self.cross_image = cross_image
        self.cross_image_weight = cross_image_weight
        self.words = words
        self.same_meaning = same_meaning
        self.uses_words = words or same_meaning is not None
        self.local_log_scale = (
            None
            if local_temperature is None
            else learned_log_scale(local_temperature)
        )
        self._try_options()

    def align(
        self,
        tokens: Tensor,
        patches: Tensor,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """Weights of the patches for each token, as training uses them.

        Args:
            tokens: (B, L, D) token embeddings.
            patches: (B, P, D) patch embeddings.
            patch_mask: (B, L, P) bool, the patches a token may look at.

        Returns:
            (B, L, P) weights that add up to 1 over the patches.
        """
        if self.query is not None:
            tokens, patches = self.query(tokens, patches)
        return self.weigh(tokens, patches, patch_mask=patch_mask)

    def forward(self, pairs: PairEmbeddings) -> dict[str, Tensor]:
        """Returns the losses, weighted, and what tells how they are won.

        Args:
            pairs: Embeddings of the batch.

        Returns:
            `loss_global`, `loss_local`, with `cross_image` also
            `loss_cross_image`, and, for the log only and of the first pairs
            alone: `patches_kept`, the share of patches with a weight above 0;
            `effective_patches`, how many a token spreads over;
            `rolled_local`, the local loss beside another pair's image,
            weighted as `loss_local` is; and `local_temperature`, if there is
            one.
        """
        if self.local_log_scale is not None:
            keep_in_range(self.local_log_scale)
        # Negatives from other images need the batch as it is.
        parts, back = [pairs], None
        if not self.cross_image:
            parts, back = parts_by_length(pairs)
        parts = [self._local_pairs(part) for part in parts]
        found = [self._compare(part) for part in parts]
        local = average_tokens(
            join_parts([part.losses for part in found], back),
            join_parts([part.token_mask for part in parts], back),
            self.token_average,
        )
        whole = batch_info_nce(pairs.image, pairs.text, pairs.logit_scale)
        losses = dict(
            loss_global=self.global_weight * whole,
            loss_local=self.local_weight * local,
        )
        if self.cross_image:
            losses['loss_cross_image'] = (
                self.cross_image_weight
                * cross_image_info_nce(
                    parts[0], found[0].grouped, self.align, self.cross_image
                )
            )
        return losses | self._diagnostics(pairs)

    def _compare(self, pairs: PairEmbeddings) -> _Compared:
        """The local loss of every token, and what it was made from."""
        weights = self.align(pairs.tokens, pairs.patches, pairs.patch_mask)
        grouped = group_patches(weights, pairs.patches)
        losses = token_losses(
            grouped,
            pairs.tokens,
            pairs.token_mask,
            pairs.logit_scale,
            self._ignored(pairs),
        )
        return _Compared(grouped, losses)

    @torch.no_grad()
    def _diagnostics(self, pairs: PairEmbeddings) -> dict[str, Tensor]:
        """What is only logged, of some pairs."""
        some = self._local_pairs(first_pairs(pairs))
        weights = self.align(some.tokens, some.patches, some.patch_mask)
        rolled = rolled_loss(
            some, self.align, self.token_average, self._ignored(some)
        )
        logged = dict(
            patches_kept=_share_kept(weights, some.token_mask),
            effective_patches=effective_patches(weights, some.token_mask),
            rolled_local=self.local_weight * rolled,
        )
        if self.local_log_scale is not None:
            logged['local_temperature'] = 1 / some.logit_scale
        return logged

    def _try_options(self) -> None:
        """Values out of range are refused now, not in the first step."""
        # By name: a model may be built on the meta device, without values.
        nothing = torch.zeros(1, 2, 1, device='cpu')
        self.weigh(nothing, nothing)
        if self.same_meaning is not None:
            mask = torch.zeros_like(nothing[..., 0], dtype=torch.bool)
            same_meaning(nothing, mask, mask.long(), **self.same_meaning)

    def _local_pairs(self, pairs: PairEmbeddings) -> PairEmbeddings:
        """The pairs with the local loss's tokens and temperature.

        Nothing that stands in the padding, not even NaN, is left in them.
        They are widened here, once for all that needs them wide, and after
        they have been put in order.
        """
        mask = pairs.token_mask
        pairs = replace(
            pairs, tokens=wide(pairs.tokens), patches=wide(pairs.patches)
        )
        if self.local_log_scale is not None:
            pairs = replace(
                pairs, logit_scale=logit_scale(self.local_log_scale)
            )
        if not self.words:
            tokens = torch.where(mask[..., None], pairs.tokens, 0.0)
            return replace(pairs, tokens=tokens)
        if pairs.words is None:
            raise UsageError(
                'words=True needs to know which word each token belongs to, '
                'but the batch does not say: use a tokenizer of this package'
            )
        tokens, word_mask = pool_words(pairs.tokens, mask, pairs.words)
        patch_mask, ids = pairs.patch_mask, pairs.token_ids
        if patch_mask is not None:
            patch_mask = pool_patch_mask(patch_mask, mask, pairs.words)
        if ids is not None:
            ids = word_ids(ids, mask, pairs.words)
        return replace(
            pairs,
            tokens=tokens,
            token_mask=word_mask,
            patch_mask=patch_mask,
            token_ids=ids,
            words=None,
        )

    def _ignored(self, pairs: PairEmbeddings) -> Tensor | None:
        """(B, L, L) bool, the tokens of a caption that are no negatives."""
        if self.same_meaning is None:
            return None
        return same_meaning(
            pairs.tokens,
            pairs.token_mask,
            pairs.token_ids,
            pairs.words,
            **self.same_meaning,
        )


class _Compared(NamedTuple):
    """Of the pairs of a part: (b, l, D) and (b, l)."""

    grouped: Tensor
    losses: Tensor


def _share_kept(weights: Tensor, token_mask: Tensor) -> Tensor:
    """Mean over real tokens of the share of patches with weight."""
    share = (weights > 0).float().mean(-1)
    return (share * token_mask).sum() / token_mask.sum().clamp(min=1)
