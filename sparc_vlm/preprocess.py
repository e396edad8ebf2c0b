"""How a picture becomes a tensor: the same for training and for users.

Kept on the ground floor since datasets and models must agree on it to the
pixel, and neither knows the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sparc_vlm.errors import UsageError

Resize = Literal['stretch', 'crop']
Picture = Image.Image | str | Path


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any PIL picture as upright 8-bit RGB.

    Camera orientation is applied, transparency laid on white, 16-bit grey
    scaled down.

    Args:
        picture: Palette, grey, CMYK, alpha, 16-bit: whatever PIL opens.
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == 'RGB':
        return picture
    if picture.mode.startswith('I'):
        values = np.asarray(picture, dtype=np.float32)
        picture = Image.fromarray((values / 257).clip(0, 255).astype('uint8'))
    if picture.has_transparency_data:
        picture = picture.convert('RGBA')
        ground = Image.new('RGBA', picture.size, 'white')
        picture = Image.alpha_composite(ground, picture)
    return picture.convert('RGB')


def check_resize(resize: str) -> None:
    """Refuses what is no `resize` of `resize_picture`.

    Raises:
        ValueError: It is neither 'stretch' nor 'crop'.
    """
    if resize not in get_args(Resize):
        raise UsageError(f"resize must be 'stretch' or 'crop', got {resize!r}")


def resize_picture(
    picture: Image.Image, size: int, resize: Resize = 'stretch'
) -> Image.Image:
    """Square picture of the model's input size.

    Args:
        picture: RGB picture.
        size: Side of the result in pixels.
        resize: 'stretch' squeezes the whole picture in, so that everything a
            caption or a box names stays in view; 'crop' keeps the
            proportions and the middle.

    Raises:
        ValueError: A `resize` that is neither.
    """
    check_resize(resize)
    if resize == 'crop':
        return ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    if picture.size == (size, size):
        return picture
    return picture.resize((size, size), Image.Resampling.BICUBIC)


def to_tensor(picture: Image.Image) -> Tensor:
    """(3, H, W) uint8 tensor of an RGB picture."""
    values = np.array(picture, dtype=np.uint8)
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


def picture_batch(
    images: Picture | Sequence[Picture],
    size: int,
    resize: Resize = 'stretch',
) -> Tensor:
    """(B, 3, size, size) uint8 tensor of pictures or of files.

    Args:
        images: PIL pictures or paths, one or several.
        size: Side in pixels.
        resize: As `resize_picture`.
    """
    if isinstance(images, Picture):
        images = [images]
    return torch.stack(
        [
            to_tensor(resize_picture(open_rgb(image), size, resize))
            for image in images
        ]
    )


def open_rgb(image: Picture) -> Image.Image:
    """A picture, or the file of one, as upright 8-bit RGB."""
    if not isinstance(image, Image.Image):
        with Image.open(image) as opened:
            return to_rgb(opened)
    return to_rgb(image)
