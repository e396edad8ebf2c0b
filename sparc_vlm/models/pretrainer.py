"""ImageTextPretrainer: two encoders, adapters, a temperature, an objective.

The one model class of pretraining. It turns images and captions into
`PairEmbeddings` and leaves the loss to its objective; afterwards it is what
encodes an image or a sentence for everything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine import dist
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from sparc_vlm.preprocess import Resize, resize_picture, to_rgb, to_tensor
from sparc_vlm.registry import MODELS, TOKENIZERS
from sparc_vlm.structures import (
    ImageEmbeddings,
    PairEmbeddings,
    TextEmbeddings,
    TokenBatch,
)

Picture = Image.Image | str | Path
MAX_LOGIT_SCALE = 100.0
# A hair below: the exponential of the rounded logarithm is above 100.
MAX_LOG_SCALE = math.log(MAX_LOGIT_SCALE) - 1e-6


@MODELS.register_module()
class ImageTextPretrainer(BaseModel):
    """Image-text pretraining model.

    With f_v, f_t the encoders and B pairs, P patches, N tokens:

    * patch embedding     v_{i,p} = g_v(f_v(x_i)_p)
    * global image        v_i     = g_v(h_v(mean_p f_v(x_i)_p))
    * token embedding     t_{i,l} = g_t(f_t(y_i)_l)
    * global text         t_i     = g_t(mean over real tokens of f_t(y_i)_l)

    Where the paper is silent: g_v and g_t have no bias (they are linear), and
    h_v is a linear layer of the encoder's width with a GELU after it. The
    temperature starts at 0.07 and its inverse never passes 100.

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
        data_preprocessor: Config; normalises images by default.
        init_cfg: mmengine's.
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
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        # Names are ours, also under the scope of another project's runner.
        with DefaultScope.overwrite_default_scope('sparc_vlm'):
            # mmengine would look for it in its own registry alone.
            preprocessor = data_preprocessor or dict(type='PairPreprocessor')
            super().__init__(MODELS.build(preprocessor), init_cfg)
            self.vision = MODELS.build(vision)
            self.text = MODELS.build(text)
            self.objective = MODELS.build(objective)
            self.tokenizer = (
                None if tokenizer is None else TOKENIZERS.build(tokenizer)
            )
        self.image_size = image_size
        self.resize = resize
        width = self.vision.embed_dims
        self.vision_head = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.vision_adapter = nn.Linear(width, embed_dims, bias=False)
        self.text_adapter = nn.Linear(
            self.text.embed_dims, embed_dims, bias=False
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    @property
    def logit_scale(self) -> Tensor:
        """Scalar 1 / temperature, at most 100."""
        return self.log_scale.exp().clamp(max=MAX_LOGIT_SCALE)

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
            images: (B, 3, H, W) normalised images.
            tokens: B captions, packed.
            patch_mask: (B, L, P) bool, the patches each token may look at.
            mode: 'tensor' returns `PairEmbeddings`, 'loss' a dict of losses
                and of what is only logged, 'predict' one dict for each pair
                with its normalised `image` and `text` embeddings and their
                `similarity`.

        Raises:
            ValueError: Another mode.
        """
        if mode == 'tensor':
            return self._embed(images, tokens, patch_mask, is_local=True)
        if mode == 'loss':
            self._hold_ceiling()
            is_local = getattr(self.objective, 'is_local', True)
            pairs = self._embed(images, tokens, patch_mask, is_local)
            temperature = 1 / pairs.logit_scale.detach()
            return self.objective(pairs) | dict(temperature=temperature)
        if mode == 'predict':
            pairs = self._embed(images, tokens, patch_mask, is_local=False)
            image = F.normalize(pairs.image.float(), dim=-1)
            text = F.normalize(pairs.text.float(), dim=-1)
            return [
                dict(image=i, text=t, similarity=i @ t)
                for i, t in zip(image, text, strict=True)
            ]
        raise ValueError(
            f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}"
        )

    def parse_losses(
        self, losses: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adds up the losses; logged values are means over processes."""
        total, log = super().parse_losses(losses)
        if dist.get_world_size() > 1:
            values = torch.stack([v.detach().float() for v in log.values()])
            dist.all_reduce(values, 'mean')
            log = dict(zip(log, values, strict=True))
        return total, log

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
        batch = self._picture_batch(images)
        with _evaluating(self.vision):
            features = self.vision.forward_patches(batch)
        values = features.values
        return ImageEmbeddings(
            patches=self.vision_adapter(values),
            dense=self.vision_adapter(self.vision_head(values)),
            image=self._global_image(values),
            grid=features.grid,
        )

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
            raise ValueError(
                'this model has no tokenizer: build it with tokenizer=..., '
                'or load a saved model folder'
            )
        if isinstance(captions, str):
            captions = [captions]
        batch = self.tokenizer.batch(list(captions))
        tokens = self.data_preprocessor.cast_data(batch)
        with _evaluating(self.text):
            values, text = self._embed_text(tokens, is_local=True)
        return TextEmbeddings(values, text, _real_mask(tokens))

    def _embed(
        self,
        images: Tensor,
        tokens: TokenBatch,
        patch_mask: Tensor | None,
        is_local: bool,
    ) -> PairEmbeddings:
        features = self.vision.forward_patches(images)
        values = features.values
        if patch_mask is not None and features.kept is not None:
            kept = features.kept[:, None].expand(-1, patch_mask.shape[1], -1)
            patch_mask = patch_mask.gather(2, kept)
        # An objective that never looks at patches does not pay for them.
        patches = values if is_local else values[:, :0]
        token_values, text = self._embed_text(tokens, is_local)
        return PairEmbeddings(
            patches=self.vision_adapter(patches),
            image=self._global_image(values),
            tokens=token_values,
            text=text,
            token_mask=_real_mask(tokens),
            logit_scale=self.logit_scale,
            patch_mask=patch_mask,
        )

    @torch.no_grad()
    def _hold_ceiling(self) -> None:
        """Keeps the parameter itself at the ceiling.

        Past it the scale would have no gradient, and one step too far would
        fix the temperature for the rest of the run.
        """
        self.log_scale.clamp_(max=MAX_LOG_SCALE)

    def _global_image(self, values: Tensor) -> Tensor:
        return self.vision_adapter(self.vision_head(values.mean(1)))

    def _embed_text(
        self, tokens: TokenBatch, is_local: bool
    ) -> tuple[Tensor, Tensor]:
        """Token embeddings, padded only here at the end, and global ones."""
        features = self.text(tokens)
        text = self.text_adapter(_mean_of_real(features, tokens))
        packed = self.text_adapter(features) if is_local else features[:, :0]
        return tokens.pad(packed), text

    def _picture_batch(
        self, images: Picture | Sequence[Picture] | Tensor
    ) -> Tensor:
        if not isinstance(images, Tensor):
            if isinstance(images, Picture):
                images = [images]
            images = torch.stack([self._picture_tensor(i) for i in images])
        images = images.to(self.device)
        if images.dtype == torch.uint8:
            images = self.data_preprocessor.normalise(images)
        return images

    def _picture_tensor(self, image: Picture) -> Tensor:
        if not isinstance(image, Image.Image):
            with Image.open(image) as opened:
                image = to_rgb(opened)
        picture = resize_picture(to_rgb(image), self.image_size, self.resize)
        return to_tensor(picture)


def _real_mask(tokens: TokenBatch) -> Tensor:
    """(B, L) bool, True on tokens that are neither padding nor marks."""
    return tokens.mask if tokens.real is None else tokens.pad(tokens.real)


def _mean_of_real(features: Tensor, tokens: TokenBatch) -> Tensor:
    """(B, C) mean of each caption's real tokens, in float32 or better.

    A caption of nothing but begin/end marks takes the mean of those.
    """
    lengths = tokens.lengths
    rows = torch.arange(len(lengths), device=lengths.device)
    rows = rows.repeat_interleave(lengths, output_size=len(features))
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    weights = features.new_ones(len(features))
    if tokens.real is not None:
        counts = lengths.new_zeros(len(lengths))
        counts = counts.index_add(0, rows, tokens.real.long())
        weights = (tokens.real | (counts == 0)[rows]).to(features)
    sums = features.new_zeros(len(lengths), features.shape[1])
    sums = sums.index_add(0, rows, features * weights[:, None])
    totals = weights.new_zeros(len(lengths)).index_add(0, rows, weights)
    return sums / totals[:, None]


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode; afterwards each submodule is in the mode it was in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
