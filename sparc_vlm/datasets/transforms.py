"""From a picture and its captions to what a batch is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from sparc_vlm.datasets.patch_masks import View
from sparc_vlm.datasets.report import Report, add_report, new_report, note
from sparc_vlm.datasets.tokens import TokenIds, Tokenizer, batch_tokens
from sparc_vlm.errors import UsageError
from sparc_vlm.preprocess import (
    Resize,
    check_resize,
    resize_picture,
    to_tensor,
)


class Sample(NamedTuple):
    """One image-text pair, ready to be batched.

    Attributes:
        image: (3, H, W) uint8, or a (C, rows, columns) float16 feature map.
        tokens: The caption.
        report: What was counted on the way.
        patch_mask: (L, P) bool, the patches that each token may look at, or
            None where that is not known.
    """

    image: Tensor
    tokens: TokenIds
    report: Report
    patch_mask: Tensor | None = None


class Chosen(NamedTuple):
    """The caption that was chosen for a picture.

    Attributes:
        text: In words.
        tokens: In tokens.
    """

    text: str
    tokens: TokenIds


class PairTransform:
    """Resizes or crops the picture; chooses and tokenises a caption.

    Args:
        tokenizer: Turns captions into token ids.
        image_size: Side of the square result in pixels.
        resize: 'stretch' or 'crop', see `resize_picture`.
        crop_scale: Smallest and largest share of the picture's area that a
            random crop keeps, or None for no random crop: a caption may name
            what a crop leaves out.
        flip: Mirror half of the pictures; off, since captions say left and
            right.

    Raises:
        ValueError: A crop scale that is not 0 < smallest <= largest <= 1, or
            another `resize`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        image_size: int,
        resize: Resize = 'stretch',
        crop_scale: tuple[float, float] | None = None,
        flip: bool = False,
    ) -> None:
        check_resize(resize)
        if crop_scale is not None and not _is_range(crop_scale):
            raise UsageError(
                'crop_scale must be (smallest, largest) share of the area, '
                f'0 < smallest <= largest <= 1, got {crop_scale}'
            )
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.resize = resize
        self.crop_scale = crop_scale
        self.flip = flip

    @property
    def at_least(self) -> int:
        """The shorter side in pixels that pictures should come with."""
        smallest = self.crop_scale[0] if self.crop_scale else 1.0
        return math.ceil(self.image_size / math.sqrt(smallest))

    def view(self, size: tuple[int, int], rng: np.random.Generator) -> View:
        """Which part of a picture is shown, and whether it is mirrored.

        Args:
            size: Width and height of the picture.
            rng: Where crop and flip come from.
        """
        if self.crop_scale:
            box = random_box(size, self.crop_scale, rng)
        elif self.resize == 'crop':
            box = middle_box(size)
        else:
            box = (0, 0, *size)
        return View(box, size, self.flip and rng.random() < 0.5)

    def image(self, picture: Image.Image, view: View) -> Tensor:
        """A part of a picture as (3, image_size, image_size) uint8.

        Args:
            picture: RGB.
            view: What `view` gave for a picture of this size.
        """
        if self.crop_scale:
            side = (self.image_size, self.image_size)
            picture = picture.resize(side, Image.Resampling.BICUBIC, view.box)
        else:
            picture = resize_picture(picture, self.image_size, self.resize)
        if view.flipped:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return to_tensor(picture)

    def caption(
        self,
        captions: Sequence[str],
        rng: np.random.Generator,
        report: Report,
        key: str,
    ) -> Chosen | None:
        """One of the captions, chosen at random, and its tokens.

        Args:
            captions: Of one picture; empty ones are passed over.
            rng: Where the choice comes from.
            report: Counts empty and truncated captions.
            key: Name of the picture, for the report.

        Returns:
            None if there is no caption with a token in it.
        """
        count = len(captions)
        first = int(rng.integers(count)) if count else 0
        for step in range(count):
            text = captions[(first + step) % count]
            tokens = self.tokenizer.encode(text)
            if any(tokens.real):
                if tokens.truncated:
                    note(report, 'truncated_captions')
                return Chosen(text, tokens)
            note(report, 'empty_captions', f'{key}: empty caption')
        if not count:
            note(report, 'empty_captions', f'{key}: no caption')
        return None


def middle_box(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The square in the middle of a picture, as resize='crop' shows it.

    Args:
        size: Width and height of the picture.

    Returns:
        Left, top, right, bottom in pixels.
    """
    width, height = size
    side = min(size)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _is_range(scale: Any) -> bool:
    """Whether it is two shares of an area, the smaller one first."""
    if not isinstance(scale, Sequence) or len(scale) != 2:
        return False
    return 0 < scale[0] <= scale[1] <= 1


def random_box(
    size: tuple[int, int],
    scale: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[float, float, float, float]:
    """A random part of a picture, of a random share and proportion.

    Args:
        size: Width and height of the picture.
        scale: Smallest and largest share of its area.
        rng: Where the choice comes from.

    Returns:
        Left, top, right, bottom in pixels.
    """
    width, height = size
    area = width * height * rng.uniform(*scale)
    ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    across = min(width, math.sqrt(area * ratio))
    down = min(height, area / across)
    left = rng.uniform(0, width - across)
    top = rng.uniform(0, height - down)
    return left, top, left + across, top + down


def collate(samples: Sequence[Sample]) -> dict:
    """A batch as the model takes it.

    Args:
        samples: One or more, with pictures of one size.

    Returns:
        images: (B, 3, H, W) uint8, or feature maps; tokens: a `TokenBatch`;
        report: counts over the batch; and, where the samples have one,
        patch_mask: (B, L, P) bool, True in the padding.
    """
    report = new_report()
    for sample in samples:
        add_report(report, sample.report)
    batch = {
        # Inside a worker this writes straight into shared memory.
        'images': default_collate([sample.image for sample in samples]),
        'tokens': batch_tokens([sample.tokens for sample in samples]),
        'report': report,
    }
    masks = [sample.patch_mask for sample in samples]
    if any(mask is not None for mask in masks):
        batch['patch_mask'] = pad_sequence(masks, True, padding_value=True)
    return batch
