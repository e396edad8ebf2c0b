"""ImageTextPretrainer: two encoders, adapters, a temperature, an objective.

It turns images and captions into `PairEmbeddings`, leaves the loss to its
objective, and encodes an image or a sentence for everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn import functional as F

from sparc_vlm.errors import UsageError
from sparc_vlm.models.adapters import AdapterKind, build_adapter, build_head
from sparc_vlm.models.alignment import sparse_alignment
from sparc_vlm.models.diagnostics import spread_of
from sparc_vlm.models.gather import mean_over_processes
from sparc_vlm.models.micro_batch import (
    check_micro_batch,
    in_micro_batches,
    micro_batches,
    refuse_batch_statistics,
)
from sparc_vlm.models.modes import evaluating
from sparc_vlm.models.patch_mask import check_grid, of_kept
from sparc_vlm.models.pooling import mean_of_real, real_mask
from sparc_vlm.models.temperature import (
    keep_in_range,
    learned_log_scale,
    logit_scale,
)
from sparc_vlm.preprocess import Picture, Resize, picture_batch
from sparc_vlm.registry import MODELS, TOKENIZERS
from sparc_vlm.structures import (
    ImageEmbeddings,
    PairEmbeddings,
    TextEmbeddings,
    TokenBatch,
)


@MODELS.register_module()
class ImageTextPretrainer(BaseModel):
    """Image-text pretraining model.

    With f_v, f_t the encoders and B pairs, P patches, N tokens:

    * patch embedding     v_{i,p} = g_v(f_v(x_i)_p)
    * global image        v_i     = g_v(h_v(mean_p f_v(x_i)_p))
    * token embedding     t_{i,l} = g_t(f_t(y_i)_l)
    * global text         t_i     = g_t(mean over real tokens of f_t(y_i)_l)

    Where the paper is silent: g_v and g_t have no bias (they are linear), and
    h_v is a linear layer of the encoder's width with a GELU after it. Under an
    objective that trains patches alone (PACL, FILIP) there is no h_v: v_i is
    the mean of the v_{i,p}. The temperature's inverse never passes 100.

    Args:
        vision: Config of the image encoder (f_v).
        text: Config of the caption encoder (f_t).
        objective: Config of the objective.
        embed_dims: D, the shared width.
        tokenizer: Config of the tokenizer, needed by `encode_text` alone.
        image_size: Side of the input picture in pixels.
        resize: How `encode_image` makes a picture square, see
            `sparc_vlm.preprocess.resize_picture`.
        temperature: Where the learned temperature starts.
        vision_adapter: g_v, 'linear' or PACL's 'residual', see `adapters`.
        data_preprocessor: Config; normalises images by default.
        micro_batch: Pairs that the encoders take at a time in training; None
            for all at once. Gradients are the same, see `micro_batch.py`.
        init_cfg: mmengine's.

    Raises:
        ValueError: `micro_batch` is below 1, or stands beside BatchNorm.
    """

    def __init__(
        self,
        vision: dict[str, Any],
        text: dict[str, Any],
        objective: dict[str, Any],
        embed_dims: int = 512,
        tokenizer: dict[str, Any] | None = None,
        image_size: int = 224,
        resize: Resize = 'stretch',
        temperature: float = 0.07,
        vision_adapter: AdapterKind = 'linear',
        data_preprocessor: dict[str, Any] | None = None,
        micro_batch: int | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        check_micro_batch(micro_batch)
        # Names are ours, also under the scope of another project's runner.
        with DefaultScope.overwrite_default_scope('sparc_vlm'):
            # mmengine would look for it in its own registry alone.
            preprocessor = data_preprocessor or dict(
                type='PairPreprocessor', late=micro_batch is not None
            )
            super().__init__(MODELS.build(preprocessor), init_cfg)
            self.vision = MODELS.build(vision)
            self.text = MODELS.build(text)
            self.objective = MODELS.build(objective)
            self.tokenizer = (
                None if tokenizer is None else TOKENIZERS.build(tokenizer)
            )
        self.image_size = image_size
        self.resize = resize
        self.micro_batch = micro_batch
        width = self.vision.embed_dims
        self.vision_head = build_head(width, self.objective)
        self.vision_adapter = build_adapter(vision_adapter, width, embed_dims)
        self.text_adapter = nn.Linear(
            self.text.embed_dims, embed_dims, bias=False
        )
        self.log_scale = learned_log_scale(temperature)
        if micro_batch is not None:
            refuse_batch_statistics(self)

    @property
    def logit_scale(self) -> Tensor:
        """Scalar 1 / temperature, at most 100."""
        return logit_scale(self.log_scale)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.log_scale.device

    def forward(
        self,
        images: Tensor,
        tokens: TokenBatch,
        patch_mask: Tensor | None = None,
        mode: Literal['tensor', 'loss', 'predict'] = 'tensor',
    ) -> PairEmbeddings | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Runs the model on preprocessed pairs.

        Args:
            images: (B, 3, H, W) normalised images, or bytes, which are
                normalised here.
            tokens: B captions, packed.
            patch_mask: (B, L, P) bool, the patches each token may look at.
            mode: 'tensor' returns `PairEmbeddings`, 'loss' a dict of losses
                and of what is only logged, 'predict' one dict for each pair
                with its normalised `image` and `text` embeddings and their
                `similarity`.

        Raises:
            ValueError: Another mode.
        """
        # Wrappers such as DDP move whatever they are given to the device.
        tokens = tokens._replace(lengths=tokens.lengths.cpu())
        if mode == 'tensor':
            return self._embed(images, tokens, patch_mask, is_local=True)
        if mode == 'loss':
            keep_in_range(self.log_scale)
            is_local = getattr(self.objective, 'is_local', True)
            pairs = self._embed(images, tokens, patch_mask, is_local)
            temperature = 1 / pairs.logit_scale.detach()
            losses = self.objective(pairs) | dict(temperature=temperature)
            return losses | spread_of(self.objective, pairs, losses)
        if mode == 'predict':
            pairs = self._embed(images, tokens, patch_mask, is_local=False)
            image = F.normalize(pairs.image.float(), dim=-1)
            text = F.normalize(pairs.text.float(), dim=-1)
            return [
                dict(image=i, text=t, similarity=i @ t)
                for i, t in zip(image, text, strict=True)
            ]
        raise UsageError(
            f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}"
        )

    def parse_losses(
        self, losses: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adds up the losses; logged values are means over processes."""
        total, log = super().parse_losses(losses)
        return total, mean_over_processes(log)

    @torch.no_grad()
    def encode_image(
        self, images: Picture | Sequence[Picture] | Tensor
    ) -> ImageEmbeddings:
        """Encodes pictures.

        Args:
            images: PIL pictures or paths (one or several), or a preprocessed
                tensor: (B, 3, H, W), uint8 as `to_tensor` gives it, or
                floating point and already normalised.

        Returns:
            Embeddings on the model's device, not normalised. Dropout and
            patch dropout are off, whatever mode the model is in.
        """
        if not isinstance(images, Tensor):
            images = picture_batch(images, self.image_size, self.resize)
        batch = images.to(self.device)
        if batch.dtype == torch.uint8:
            batch = self.data_preprocessor.normalise(batch)
        else:
            batch = batch.to(self.log_scale.dtype)
        with evaluating(self.vision):
            features = self.vision.forward_patches(batch)
        values, patches = features.values, self.vision_adapter(features.values)
        dense = self.vision_adapter(self.vision_head(values))
        image = self._global_image(values, patches)
        return ImageEmbeddings(patches, dense, image, features.grid)

    @torch.no_grad()
    def encode_text(self, captions: str | Sequence[str]) -> TextEmbeddings:
        """Encodes sentences with the model's own tokenizer.

        Args:
            captions: One or several sentences; none may be empty.

        Raises:
            ValueError: The model was built without a tokenizer, or a
                sentence is empty.
        """
        if self.tokenizer is None:
            raise UsageError(
                'this model has no tokenizer: build it with tokenizer=..., '
                'or load a saved model folder'
            )
        if isinstance(captions, str):
            captions = [captions]
        batch = self.tokenizer.batch(list(captions))
        # mmengine's `cast_data` misses that a module around this one moved.
        moved = [one if one is None else one.to(self.device) for one in batch]
        tokens = batch._make(moved)._replace(lengths=batch.lengths)
        with evaluating(self.text):
            values, text = self._encode_captions(tokens, is_local=True)
        return TextEmbeddings(tokens.pad(values), text, real_mask(tokens))

    @torch.no_grad()
    def align(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """Which patches each token looks at, as the objective has it.

        An objective that aligns nothing, such as CLIP, is shown with the
        paper's alignment (equations 2 to 4).

        Args:
            tokens: (B, L, D) token embeddings, from `encode_text`.
            patches: (B, P, D) patch embeddings, from `encode_image`.

        Returns:
            (B, L, P) weights, on the device of `tokens`.
        """
        rule = getattr(self.objective, 'align', sparse_alignment)
        weights = rule(tokens.to(self.device), patches.to(self.device))
        return weights.to(tokens.device)

    def _embed(
        self,
        images: Tensor,
        tokens: TokenBatch,
        patch_mask: Tensor | None,
        is_local: bool,
    ) -> PairEmbeddings:
        sizes = [len(images)]
        if self.micro_batch and self.training:
            sizes = micro_batches(*sizes, self.micro_batch, images.device)
        masked = None if patch_mask is None else patch_mask.shape[-1]
        patches, image, kept = in_micro_batches(
            partial(self._encode_pixels, is_local=is_local, masked=masked),
            images,
            sizes,
        )
        packed, text = in_micro_batches(
            partial(self._encode_captions, is_local=is_local), tokens, sizes
        )
        uses_words = getattr(self.objective, 'uses_words', False)
        return PairEmbeddings(
            patches=patches,
            image=image,
            tokens=tokens.pad(packed),
            text=text,
            token_mask=real_mask(tokens),
            logit_scale=self.logit_scale,
            patch_mask=of_kept(patch_mask, kept),
            token_ids=tokens.pad(tokens.ids) if uses_words else None,
            words=tokens.padded_words if uses_words else None,
        )

    def _global_image(self, values: Tensor, patches: Tensor) -> Tensor:
        if isinstance(self.vision_head, nn.Identity):
            return patches.mean(1)
        return self.vision_adapter(self.vision_head(values.mean(1)))

    def _encode_pixels(
        self, images: Tensor, is_local: bool, masked: int | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Patch embeddings, global ones, and which patches were kept."""
        if images.dtype == torch.uint8:
            images = self.data_preprocessor.normalise(images)
        features = self.vision.forward_patches(images)
        check_grid(masked, features.grid)
        values = features.values
        # An objective that never looks at patches does not pay for them.
        is_local |= isinstance(self.vision_head, nn.Identity)
        patches = self.vision_adapter(values if is_local else values[:, :0])
        return patches, self._global_image(values, patches), features.kept

    def _encode_captions(
        self, tokens: TokenBatch, is_local: bool
    ) -> tuple[Tensor, Tensor]:
        """Token embeddings, packed, and global ones."""
        features = self.text(tokens)
        mean = mean_of_real(features, tokens)
        text = self.text_adapter(mean.to(self.text_adapter.weight.dtype))
        packed = self.text_adapter(features) if is_local else features[:, :0]
        return packed, text
