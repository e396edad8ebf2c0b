"""Pictures in whatever form, through another model's own preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from sparc_vlm.preprocess import Picture, open_rgb

Preprocess = Callable[[list[Image.Image]], Tensor]
"""From RGB pictures to (B, 3, H, W)."""


def pixels_of(
    images: Picture | Sequence[Picture] | Tensor,
    preprocess: Preprocess,
    device: torch.device,
) -> Tensor:
    """(B, 3, H, W) pixels as a model takes them.

    Args:
        images: PIL pictures or paths, one or several, or what has been
            preprocessed already.
        preprocess: The model's own.
        device: Of the model.
    """
    if not isinstance(images, Tensor):
        if isinstance(images, Picture):
            images = [images]
        images = preprocess([open_rgb(image) for image in images])
    return images.to(device)
