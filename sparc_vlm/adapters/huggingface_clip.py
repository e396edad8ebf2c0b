"""CLIP models of `transformers`, with their patches and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from sparc_vlm.adapters.pictures import pixels_of
from sparc_vlm.datasets import HuggingFaceTokenizer
from sparc_vlm.errors import RunError, UnsupportedError
from sparc_vlm.models.alignment import sparse_alignment
from sparc_vlm.models.pooling import real_mask
from sparc_vlm.preprocess import Picture
from sparc_vlm.structures import ImageEmbeddings, TextEmbeddings


class HuggingFaceClip(nn.Module):
    """A `CLIPModel`, as tasks and figures take a model.

    Patches are those of the last layer through the final norm and the
    projection, as the class token goes; the same for `patches` and `dense`.
    Tokens go through the text's final norm and projection.

    Args:
        path: A folder with the model (safetensors), its preprocessing and
            its tokenizer, or a name on the hub.
        device: Where to put it.

    Raises:
        UnsupportedError: It is another kind of model.
        RuntimeError: Something is missing or damaged.
    """

    align = staticmethod(sparse_alignment)

    def __init__(
        self, path: str | Path, device: str | torch.device = 'cpu'
    ) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoImageProcessor, CLIPModel

        # Whatever is missing or damaged.
        try:
            config = AutoConfig.from_pretrained(str(path))
            kind = config.model_type
            if kind == 'clip':
                self.processor = AutoImageProcessor.from_pretrained(str(path))
                model = CLIPModel.from_pretrained(
                    str(path), use_safetensors=True, dtype=torch.float32
                )
                self.tokenizer = HuggingFaceTokenizer(
                    path, config.text_config.max_position_embeddings
                )
        except Exception as error:
            said = ' '.join(str(error).split())
            raise RunError(
                f'transformers cannot load {path}: {said}'
            ) from error
        if kind != 'clip':
            raise UnsupportedError(
                f'{path} is a {kind}, and only CLIP models of transformers '
                'can be measured'
            )
        self.model = model.to(device)
        self.eval()
        self.image_size = config.vision_config.image_size

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
        found = self.model.vision_model(pixels)
        normed = self.model.vision_model.post_layernorm(
            found.last_hidden_state[:, 1:]
        )
        patches = self.model.visual_projection(normed)
        image = self.model.visual_projection(found.pooler_output)
        size = self.model.config.vision_config.patch_size
        grid = tuple(side // size for side in pixels.shape[-2:])
        return ImageEmbeddings(patches, patches, image, grid)

    @torch.no_grad()
    def encode_text(self, captions: str | Sequence[str]) -> TextEmbeddings:
        """Encodes sentences.

        Args:
            captions: One or several; none may be empty.
        """
        captions = [captions] if isinstance(captions, str) else list(captions)
        batch = self.tokenizer.batch(captions)
        found = self.model.text_model(
            input_ids=batch.pad(batch.ids).to(self.device),
            attention_mask=batch.mask.long().to(self.device),
        )
        tokens = self.model.text_projection(found.last_hidden_state)
        text = self.model.text_projection(found.pooler_output)
        return TextEmbeddings(tokens, text, real_mask(batch).to(self.device))

    def _preprocess(self, pictures: list[Image.Image]) -> Tensor:
        return self.processor(images=pictures, return_tensors='pt')[
            'pixel_values'
        ]
