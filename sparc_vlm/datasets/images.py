"""Pictures from bytes, with every way of being broken turned into one.

Only as many pixels of a JPEG are decoded as the caller needs.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from sparc_vlm.errors import UserError
from sparc_vlm.preprocess import to_rgb


class BrokenImage(UserError):  # noqa: N818 - not always an error
    """A picture that cannot be read.

    Args:
        path: Where it is.
        reason: Why it cannot be read.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f'{self.path}: {self.reason}'


def decode_image(
    data: bytes, path: str, at_least: int | None = None
) -> Image.Image:
    """Decodes a picture.

    Args:
        data: The bytes of its file.
        path: Where they come from, for the error.
        at_least: The shorter side, in pixels, that the caller needs; a JPEG
            is decoded at a half, a quarter or an eighth of its size where
            that is enough. None decodes all of it.

    Returns:
        Upright RGB picture.

    Raises:
        BrokenImage: The bytes are no picture, or not all of one.
    """
    with reading_image(path):
        picture = Image.open(io.BytesIO(data))
        if at_least and picture.format == 'JPEG':
            picture.draft(None, (at_least, at_least))
        picture.load()
        return to_rgb(picture)


def decode_numbers(data: bytes, path: str) -> np.ndarray:
    """Decodes a picture whose pixels are numbers, such as of classes.

    Args:
        data: The bytes of its file.
        path: Where they come from, for the error.

    Returns:
        (H, W) int64, the numbers as they are stored: a palette is left out.

    Raises:
        BrokenImage: The bytes are no picture, not all of one, or one of
            colours.
    """
    with reading_image(path):
        picture = Image.open(io.BytesIO(data))
        picture.load()
        numbers = np.asarray(picture)
    if numbers.ndim != 2:
        raise BrokenImage(
            path, f'has colours ({picture.mode}) in place of numbers'
        )
    return numbers.astype(np.int64)


@contextmanager
def reading_image(path: str) -> Iterator[None]:
    """Turns whatever a decoder raises into a `BrokenImage`.

    Args:
        path: What is read.

    Raises:
        BrokenImage: Anything was raised.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    # A broken file can raise nearly anything from inside its decoder.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = 'not a picture in any known format'
        raise BrokenImage(path, reason) from error
