"""Eyes from transformers: CLIP, SigLIP, DINOv2 and the like, frozen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparc_vlm.captioning.eyes import FOLDER, normalised, probe
from sparc_vlm.captioning.sources import at_home, loading
from sparc_vlm.errors import UsageError
from sparc_vlm.models import PairPreprocessor
from sparc_vlm.models.encoders.vision import PatchFeatures
from sparc_vlm.preprocess import Resize
from sparc_vlm.registry import MODELS

COPIED = ('*.json', '*.safetensors')
"""Files of a folder of transformers that hold no code."""


@MODELS.register_module()
class HuggingFaceEyes(nn.Module):
    """An image encoder of transformers.

    What stands before the patches, such as a class token, is dropped.

    Args:
        path: A folder with the model (safetensors) and its preprocessing, or
            a name on the hub.
        layer: Whose patches are seen, before any last norm; -2, the one
            before the last, is LLaVA's.

    Raises:
        ValueError: It cannot be loaded, or no such layer.

    Attributes:
        embed_dims: C, width of a patch.
        grid: Rows and columns of a picture's patches.
        image_size: Side of the picture in pixels.
        resize: How a picture is made square.
    """

    is_random = False
    pretrained = None

    def __init__(self, path: str, layer: int = -2) -> None:
        super().__init__()
        from transformers import AutoImageProcessor, AutoModel

        path = at_home(path)
        with loading(f'eyes from {path}'):
            processor = AutoImageProcessor.from_pretrained(path)
            model = AutoModel.from_pretrained(
                path, use_safetensors=True, dtype=torch.float32
            )
        self.path = path
        # A CLIP or SigLIP has a text encoder beside it.
        self.vision = getattr(model, 'vision_model', model)
        self.layer = layer
        config = self.vision.config
        depth = config.num_hidden_layers
        if not -depth <= layer <= depth:
            raise UsageError(f'eyes.layer={layer}: {path} has {depth} layers')
        self.image_size = config.image_size
        self.patch_size = config.patch_size
        self.resize: Resize = (
            'crop' if getattr(processor, 'do_center_crop', 0) else 'stretch'
        )
        self.preprocessor = PairPreprocessor(
            [255 * value for value in processor.image_mean],
            [255 * value for value in processor.image_std],
        )
        self.train().requires_grad_(False)
        self.embed_dims, self.grid = probe(self)

    @torch.no_grad()
    def forward(self, images: Tensor) -> PatchFeatures:
        """(B, P, C) patches, and their grid.

        Args:
            images: (B, 3, H, W) uint8, or floating point and normalised.
        """
        images = normalised(images, self.preprocessor)
        found = self.vision(pixel_values=images, output_hidden_states=True)
        rows, columns = (side // self.patch_size for side in images.shape[2:])
        patches = found.hidden_states[self.layer][:, -rows * columns :]
        return PatchFeatures(patches, (rows, columns))

    def train(self, mode: bool = True) -> HuggingFaceEyes:
        """Stays in eval mode."""
        return super().train(False)

    def init_weights(self) -> None:
        """Leaves the weights as they were loaded."""

    def describe(self) -> dict[str, Any]:
        """Their config once `write` has written them beside it."""
        path = FOLDER if Path(self.path).is_dir() else self.path
        return dict(type='HuggingFaceEyes', path=path, layer=self.layer)

    def write(self, folder: Path) -> None:
        """Copies the model, unless it is named as the hub names it.

        Args:
            folder: Of the captioner.
        """
        if not Path(self.path).is_dir():
            return
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        for pattern in COPIED:
            for file in Path(self.path).glob(pattern):
                shutil.copyfile(file, folder / FOLDER / file.name)
