"""Models of `open_clip`, with the patches that their own code throws away."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from PIL import Image
from torch import Tensor, nn

from sparc_vlm.adapters.clip_tokens import ClipTokenizer
from sparc_vlm.adapters.pictures import pixels_of
from sparc_vlm.engine.config_error import nearest
from sparc_vlm.errors import MissingPackageError, RunError, UsageError
from sparc_vlm.models.alignment import sparse_alignment
from sparc_vlm.models.pooling import real_mask
from sparc_vlm.preprocess import Picture
from sparc_vlm.structures import ImageEmbeddings, TextEmbeddings

SELF_CONTAINED = ('local-dir:', 'hf-hub:')
"""How names of models begin that bring their weights."""


class OpenClipModel(nn.Module):
    """Any model of open_clip, as tasks and figures take a model.

    Patches are those of the last layer through the final norm and the
    projection, as the class token goes; the same for `patches` and `dense`.
    A tower that is not open_clip's ViT, or pools by attention, has none: its
    patches lie in no space that text is in. Tokens go through the text's
    final norm and projection; a text tower that is not open_clip's own gives
    the whole text as one token.

    Args:
        name: Of the architecture, 'local-dir:FOLDER' or 'hf-hub:NAME'.
        pretrained: A file of weights, or a name that open_clip knows for
            them, which it fetches. None leaves them random, and says so.
        device: Where to put it.

    Raises:
        MissingPackageError: open_clip is not installed.
        ValueError: No such architecture or weights.
        RuntimeError: Weights cannot be had.
    """

    align = staticmethod(sparse_alignment)

    def __init__(
        self,
        name: str,
        pretrained: str | Path | None = None,
        device: str | torch.device = 'cpu',
    ) -> None:
        super().__init__()
        package = _open_clip()
        _check(package, name, pretrained)
        if pretrained is None and not name.startswith(SELF_CONTAINED):
            print_log(
                f'{name} has random weights: name a file of weights, or one '
                'of open_clip.list_pretrained()',
                logger='current',
                level=logging.WARNING,
            )
        # Whatever is missing, damaged, or fits another architecture.
        try:
            model, _, self.transform = package.create_model_and_transforms(
                name, pretrained and str(pretrained), weights_only=True
            )
            tokenize = package.get_tokenizer(name)
        except Exception as error:
            said = ' '.join(str(error).split())
            raise RunError(f'open_clip cannot load {name}: {said}') from error
        self.model = model.to(device)
        self.eval()
        self.image_size = model.visual.image_size
        self.tokenize = tokenize
        self.tokenizer = None
        if isinstance(tokenize, package.SimpleTokenizer):
            self.tokenizer = ClipTokenizer(tokenize, model.context_length)
        vit = package.transformer.VisionTransformer
        visual = model.visual
        self._has_patches = isinstance(visual, vit) and not visual.attn_pool

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.model.logit_scale.device

    @torch.no_grad()
    def encode_image(
        self, images: Picture | Sequence[Picture] | Tensor
    ) -> ImageEmbeddings:
        """Encodes pictures.

        Args:
            images: PIL pictures or paths, one or several, or a preprocessed
                tensor.
        """
        pixels = pixels_of(images, self._preprocess, self.device)
        if not self._has_patches:
            image = self.model.encode_image(pixels)
            none = image[:, None][:, :0]
            return ImageEmbeddings(none, none, image, (0, 0))
        visual = self.model.visual
        found = visual.forward_intermediates(
            pixels,
            indices=1,
            normalize_intermediates=True,
            output_fmt='NLC',
        )
        patches = _projected(found['image_intermediates'][-1], visual.proj)
        return ImageEmbeddings(
            patches, patches, found['image_features'], visual.grid_size
        )

    @torch.no_grad()
    def encode_text(self, captions: str | Sequence[str]) -> TextEmbeddings:
        """Encodes sentences.

        Args:
            captions: One or several; none may be empty.
        """
        captions = [captions] if isinstance(captions, str) else list(captions)
        ids = self.tokenize(captions).to(self.device)
        tower = getattr(self.model, 'text', self.model)
        if self.tokenizer is None or not hasattr(tower, 'ln_final'):
            text = self.model.encode_text(ids)
            alone = torch.ones(len(ids), 1, dtype=torch.bool)
            return TextEmbeddings(text[:, None], text, alone.to(self.device))
        mask = real_mask(self.tokenizer.batch(captions)).to(self.device)
        found = self.model.forward_intermediates(
            text=ids,
            text_indices=1,
            normalize=False,
            normalize_intermediates=True,
        )
        tokens = found['text_intermediates'][-1][:, : mask.shape[1]]
        tokens = _projected(tokens, tower.text_projection)
        return TextEmbeddings(tokens, found['text_features'], mask)

    def _preprocess(self, pictures: list[Image.Image]) -> Tensor:
        return torch.stack([self.transform(picture) for picture in pictures])


def _projected(
    values: Tensor, projection: Tensor | nn.Linear | None
) -> Tensor:
    """Values in the space that pictures and text share."""
    if projection is None:
        return values
    if isinstance(projection, nn.Linear):
        return projection(values)
    return values @ projection


def _open_clip() -> Any:
    """The package.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise MissingPackageError(
            'models of open_clip need it: pip install open_clip_torch'
        ) from error
    return open_clip


def _check(package: Any, name: str, pretrained: str | Path | None) -> None:
    """Makes sure that open_clip knows what is asked for."""
    if name.startswith(SELF_CONTAINED):
        return
    known = package.list_models()
    if name not in known:
        raise UsageError(f'open_clip has no {name}{nearest(name, known)}')
    if pretrained is None or Path(pretrained).is_file():
        return
    tags = package.list_pretrained_tags_by_model(name)
    if str(pretrained) not in tags:
        raise UsageError(
            f'{pretrained} is neither a file nor weights that open_clip has '
            f'for {name}{nearest(str(pretrained), tags)}'
        )
