"""FILIP: each token with its best patch, in every pair of the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.models.alignment import alignment_scores
from sparc_vlm.models.contrastive import batch_info_nce
from sparc_vlm.models.cosine import unit
from sparc_vlm.models.gather import gather_captions, process_sizes
from sparc_vlm.models.pairwise import Joined, pairwise_info_nce
from sparc_vlm.models.pairwise_blocks import Tensors
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import PairEmbeddings


@MODELS.register_module()
class FILIP(nn.Module):
    """InfoNCE on late interaction (Yao et al., 2111.07783).

    With unit patches v_ip and unit tokens t_jl of every image i and caption
    j, the score of image to text is the mean over patches of the maximum over
    tokens of <v_ip, t_jl>, and the score of text to image the mean over
    tokens of the maximum over patches.

    As SPARC's authors ran it, a share of each caption's tokens is dropped at
    random in training. Where they are silent: patches are all kept, and a
    caption of n tokens loses n times the share, rounded, but never all. A
    caption without real tokens scores 0 with every image.

    Args:
        local_weight: Weight of this loss.
        global_weight: Weight of CLIP's loss beside it; 0 leaves it out, more
            makes it CLIP + FILIP.
        dropped: Share of the tokens dropped in training.
        budget: Bytes of a block of pairs, see `pairwise_info_nce`.

    Attributes:
        is_local: Whether the objective looks at patches and tokens.
        takes_masks: Whether it looks at a `patch_mask`.
        is_global: Whether it trains the global image embedding. Where it does
            not, the pretrainer's is the mean of the patch embeddings.

    Raises:
        ValueError: A share of tokens that leaves none.
    """

    is_local = True
    takes_masks = False

    def __init__(
        self,
        local_weight: float = 1.0,
        global_weight: float = 0.0,
        dropped: float = 0.2,
        budget: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= dropped < 1:
            raise UsageError(
                f'dropped is the share of tokens left out: at least 0 and '
                f'below 1, got {dropped}'
            )
        self.local_weight = local_weight
        self.global_weight = global_weight
        self.is_global = global_weight > 0
        self.dropped = dropped
        self.budget = budget
        self.scores = LateInteraction()

    def forward(self, pairs: PairEmbeddings) -> dict[str, Tensor]:
        """Returns `loss_local` and, where it counts, `loss_global`, weighted.

        Args:
            pairs: Embeddings of the batch.

        Raises:
            ValueError: There is a `patch_mask`; it says nothing about the
                other images of the batch.
        """
        if pairs.patch_mask is not None:
            raise UsageError(
                'FILIP compares tokens with the patches of every image: '
                "train it without patch_mask, which is for a caption's own "
                'image'
            )
        mask = pairs.token_mask
        if self.training and self.dropped > 0:
            mask = keep_some(mask, self.dropped)
        sizes = process_sizes(len(mask), mask.device)
        tokens, mask = gather_captions(pairs.tokens, mask, sizes)
        local = pairwise_info_nce(
            self.scores,
            (pairs.patches,),
            (tokens, mask),
            (pairs.logit_scale,),
            Joined.here(sizes),
            # Captions of about one length meet in a block.
            column_order=mask.sum(1).argsort(),
            budget=self.budget,
        )
        losses = dict(loss_local=self.local_weight * local)
        if self.is_global:
            whole = batch_info_nce(pairs.image, pairs.text, pairs.logit_scale)
            losses['loss_global'] = self.global_weight * whole
        return losses

    def align(
        self,
        tokens: Tensor,
        patches: Tensor,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """1 at the patch that a token takes, 0 elsewhere.

        Args:
            tokens: (B, L, D) token embeddings.
            patches: (B, P, D) patch embeddings.
            patch_mask: (B, L, P) bool, the patches a token may look at; a
                token that may look at none may look at all.

        Returns:
            (B, L, P) weights that add up to 1 over the patches.
        """
        cosines = alignment_scores(unit(tokens), unit(patches))
        if patch_mask is not None:
            allowed = patch_mask | ~patch_mask.any(-1, keepdim=True)
            cosines = cosines.masked_fill(~allowed, -torch.inf)
        best = cosines.argmax(-1, keepdim=True)
        return torch.zeros_like(cosines).scatter_(-1, best, 1.0)


def keep_some(token_mask: Tensor, dropped: float) -> Tensor:
    """Drops a share of each caption's tokens at random, never all.

    Args:
        token_mask: (B, L) bool, True on real tokens.
        dropped: Share to drop; the number is rounded for each caption.

    Returns:
        (B, L) bool, True on the tokens that are kept.
    """
    lengths = token_mask.sum(1, keepdim=True)
    fewer = (lengths * dropped).round().clamp(max=lengths - 1)
    noise = torch.rand(token_mask.shape, device=token_mask.device)
    places = noise.masked_fill(~token_mask, 2.0).argsort(1).argsort(1)
    return (places < lengths - fewer) & token_mask


class LateInteraction:
    """Scores of `FILIP`.

    Rows are (patches,), columns (tokens, mask), shared tensors (scale,).
    """

    def prepare(self, rows: Tensors) -> Tensors:
        """(r, P, D) unit patches."""
        return (unit(rows[0]),)

    def __call__(
        self, rows: Tensors, columns: Tensors, shared: Tensors
    ) -> tuple[Tensor, Tensor]:
        """(r, c) scores of both directions."""
        patches, scale = rows[0], shared[0]
        tokens, counted = lengthwise(*columns)
        # (r, P, l, c): maxima over an outer axis are the fast ones.
        cosines = patches.flatten(0, 1) @ unit(tokens).flatten(0, 1).T
        cosines = cosines.view(*patches.shape[:2], *counted.shape)
        best_token, best_patch = _Best.apply(cosines)
        counted = counted.to(patches.dtype)
        share = counted / counted.sum(0).clamp(min=1)
        to_image = (best_patch.to(patches.dtype) * share).sum(1)
        to_text = best_token.to(patches.dtype).mean(1) * counted[0]
        return scale * to_text, scale * to_image

    def pair_bytes(self, rows: Tensors, columns: Tensors) -> int:
        """Cosines and their gradient."""
        cosines = rows[0].shape[1] * columns[0].shape[1]
        return 2 * cosines * max(4, rows[0].element_size())


def lengthwise(tokens: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens that count, place by place, cut at the longest caption.

    A shorter caption repeats its first token, which no maximum notices; one
    without any token holds zeros.

    Args:
        tokens: (c, L, D) tokens of some captions.
        counted: (c, L) bool, the tokens that count.

    Returns:
        (l, c, D) tokens and (l, c) bool, False on what is repeated.
    """
    lengths = counted.sum(1)
    longest = max(1, int(lengths.max()))
    first = torch.argsort(~counted, dim=1, stable=True)[:, :longest].T
    real = torch.arange(longest, device=lengths.device)[:, None] < lengths
    places = torch.where(real, first, first[0])
    captions = torch.arange(len(tokens), device=tokens.device)
    flat = (places + captions * tokens.shape[1]).flatten()
    taken = tokens.flatten(0, 1).index_select(0, flat)
    taken = taken.view(longest, len(tokens), -1)
    if not bool(lengths.all()):
        taken = torch.where(lengths[:, None] > 0, taken, 0.0)
    return taken, real


class _Best(torch.autograd.Function):
    """Maxima over tokens and over patches of (r, P, l, c), in one go.

    The gradient is nearly all zeros: it is filled in at the maxima.
    """

    @staticmethod
    def forward(ctx: Any, cosines: Tensor) -> tuple[Tensor, Tensor]:
        if not ctx.needs_input_grad[0]:
            return cosines.amax(2), cosines.amax(1)
        best_token, token = cosines.max(2)
        best_patch, patch = cosines.max(1)
        ctx.save_for_backward(token, patch)
        ctx.shape = cosines.shape
        return best_token, best_patch

    @staticmethod
    def backward(ctx: Any, to_token: Tensor, to_patch: Tensor) -> Tensor:
        token, patch = ctx.saved_tensors
        gradient = to_token.new_zeros(ctx.shape)
        gradient.scatter_(2, token[:, :, None], to_token[:, :, None])
        return gradient.scatter_add_(1, patch[:, None], to_patch[:, None])
