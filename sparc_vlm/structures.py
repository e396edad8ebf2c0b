"""What encoders hand on to everything else.

Four small records and no behaviour beyond shape checks. Objectives take
`PairEmbeddings`; tasks and figures take `ImageEmbeddings` and
`TextEmbeddings`; text encoders take a `TokenBatch`, which holds no padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sparc_vlm.errors import UsageError


class TokenBatch(NamedTuple):
    """Captions as token ids, one after the other, without padding.

    A named tuple, so that mmengine's preprocessor and torch's pinning move
    its tensors as they move any other.

    Attributes:
        ids: (N,) int64 token ids of all captions in a row, N = sum of
            lengths.
        lengths: (B,) int64 number of tokens of each caption, begin/end marks
            included; on the host inside a model, wherever the rest is,
            since shapes follow from them and a device would have to be
            waited for.
        real: (N,) bool, False on begin/end marks, or None where the
            tokenizer has none.
        words: (N,) int64 number of the word within its caption that each
            token belongs to, -1 where it belongs to none, or None where
            nobody has counted words.
    """

    ids: Tensor
    lengths: Tensor
    real: Tensor | None = None
    words: Tensor | None = None

    @classmethod
    def from_lists(
        cls,
        captions: list[list[int]],
        real: list[list[bool]] | None = None,
        words: list[list[int | None]] | None = None,
    ) -> TokenBatch:
        """Packs lists of token ids.

        Args:
            captions: Token ids of each caption; none may be empty.
            real: For each caption, which tokens are not begin/end marks.
            words: For each caption, the number of each token's word, or None
                where it belongs to no word.

        Raises:
            ValueError: A caption has no token, so that it has no text
                embedding; drop it before it gets here.
        """
        if not all(captions):
            raise UsageError(
                'a caption without a token cannot be encoded: '
                f'caption {[bool(c) for c in captions].index(False)} is empty'
            )
        flat = [token for caption in captions for token in caption]
        lengths = [len(caption) for caption in captions]
        marks = None
        if real is not None:
            marks = torch.tensor([flag for row in real for flag in row])
        owners = None
        if words is not None:
            owners = torch.tensor(
                [-1 if word is None else word for row in words for word in row]
            )
        return cls(torch.tensor(flat), torch.tensor(lengths), marks, owners)

    @property
    def mask(self) -> Tensor:
        """(B, L) bool, True on every token of the padded layout."""
        lengths = self.lengths.cpu()
        places = torch.arange(int(lengths.max()))
        return to_device(places < lengths[:, None], self.ids.device)

    @property
    def padded_words(self) -> Tensor | None:
        """(B, L) words of the padded layout, -1 in the padding, or None."""
        return None if self.words is None else self.pad(self.words, -1)

    def pad(self, packed: Tensor, filling: int = 0) -> Tensor:
        """Lays (N, ...) values of the tokens out as (B, L, ...).

        Args:
            packed: One row a token, in the order of `ids`.
            filling: What stands in the padding.
        """
        mask = self.mask
        shape = *mask.shape, *packed.shape[1:]
        padded = packed.new_full(shape, filling)
        # Their number is known: nobody needs to ask the device for it.
        rows = mask.flatten().nonzero_static(size=len(packed)).squeeze(1)
        return padded.flatten(0, 1).index_copy(0, rows, packed).view_as(padded)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Moves what was made on the host without waiting for the device.

    Args:
        values: A tensor on the host.
        device: Where it is needed.
    """
    if device.type == 'cuda' and not values.is_cuda:
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


@dataclass(frozen=True)
class PairEmbeddings:
    """Everything an objective may look at, for B image-text pairs.

    Nothing is normalised. P patches, L tokens (padded to the longest caption
    of the batch), D the shared width.

    Attributes:
        patches: (B, P, D) patch embeddings v_{i,p}.
        image: (B, D) global image embeddings v_i.
        tokens: (B, L, D) token embeddings t_{i,l}.
        text: (B, D) global text embeddings t_i.
        token_mask: (B, L) bool, True on real tokens; padding and begin/end
            marks are not real tokens.
        logit_scale: scalar, 1 / temperature.
        patch_mask: (B, L, P) bool, the patches that a token may look at, or
            None for all of them. FILIP, PACL and GLoRIA, which compare tokens
            with patches of other images, refuse it.
        token_ids: (B, L) int64 ids of the tokens, 0 in the padding, or None
            where they are not known.
        words: (B, L) int64 number of the word within its caption that each
            token belongs to, -1 where it belongs to none (padding, marks),
            or None where words are not known.
    """

    patches: Tensor
    image: Tensor
    tokens: Tensor
    text: Tensor
    token_mask: Tensor
    logit_scale: Tensor
    patch_mask: Tensor | None = None
    token_ids: Tensor | None = None
    words: Tensor | None = None


@dataclass(frozen=True)
class ImageEmbeddings:
    """What `encode_image` returns; nothing is normalised.

    Attributes:
        patches: (B, P, D) patches as the local loss sees them.
        dense: (B, P, D) patches through h_v then g_v, in the space of the
            global text embedding (appendix D.7).
        image: (B, D) global image embeddings.
        grid: Rows and columns that the P patches stand in.
    """

    patches: Tensor
    dense: Tensor
    image: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True)
class TextEmbeddings:
    """What `encode_text` returns; nothing is normalised.

    Attributes:
        tokens: (B, L, D) token embeddings.
        text: (B, D) global text embeddings.
        token_mask: (B, L) bool, True on real tokens.
    """

    tokens: Tensor
    text: Tensor
    token_mask: Tensor
