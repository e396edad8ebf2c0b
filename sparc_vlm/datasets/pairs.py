"""What a source of image-text pairs is, and pairs ready for training."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from sparc_vlm.datasets.images import BrokenImage
from sparc_vlm.datasets.patch_masks import (
    Kind,
    PatchMasks,
    View,
)
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.tokens import Tokenizer
from sparc_vlm.datasets.transforms import Chosen, PairTransform, Sample
from sparc_vlm.errors import RunError, UsageError
from sparc_vlm.feature_maps import FeatureMaps
from sparc_vlm.preprocess import Resize
from sparc_vlm.registry import DATASETS, TOKENIZERS

# Broken pictures met in a row before the data are called unreadable.
TRIES = 100
Made = TypeVar('Made')


class PairSource(ABC):
    """Pictures with captions; what tasks, figures and training read.

    A source may also have `segments(index)`, labels (H, W) with 0 for the
    background and k for `names[k - 1]`, and the names; and `boxes(index)`,
    a list of dicts with a `name` and a `box` (x1, y1, x2, y2 in pixels), and
    with it `crowds(index)`, names of what is there without a box; or
    `phrases(index)`, parts of its captions with boxes (`readers.phrases`).
    One with foils has `foils(index)`, dicts of a true `caption`, the `foil`
    (a text, or a list of several) that is false, and the `kind` of foil.
    One for classification has `classes`, names fit for a prompt, and
    `label(index)`, a place among them or -1 where there is no one label; and,
    if it has several parts, `group(index)`, the name of the picture's part.
    Where several of its pictures are one, cut or corrupted in several ways,
    `picture(index)` says which: they are right or wrong together.

    Attributes:
        reading: What was counted when the annotations were read.
    """

    def __init__(self) -> None:
        self.reading: Report = new_report()

    @abstractmethod
    def __len__(self) -> int:
        """Number of pictures."""

    @abstractmethod
    def key(self, index: int) -> str:
        """A name for the picture, unique in the source."""

    @abstractmethod
    def captions(self, index: int) -> list[str]:
        """All captions of the picture; nothing is decoded for them."""

    @abstractmethod
    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """The picture in RGB.

        Args:
            index: Which one.
            at_least: A side in pixels that is enough, or None for all there
                is; a source may return more.

        Raises:
            BrokenImage: It cannot be read.
        """

    def file(self, index: int) -> tuple[str, bytes]:
        """The picture as a file: its ending, and its bytes.

        Args:
            index: Which one.

        Returns:
            'jpg' or the like, and the file as it is stored; a PNG where the
            source stores none.

        Raises:
            BrokenImage: It cannot be read.
        """
        buffer = io.BytesIO()
        self.image(index).save(buffer, 'PNG')
        return 'png', buffer.getvalue()


def first_usable(
    make: Callable[[int, np.random.Generator, Report], Made | None],
    index: int,
    count: int,
    rng: np.random.Generator,
    report: Report,
) -> Made:
    """What is made of a picture, or of one drawn in its place.

    Args:
        make: Makes it of a picture's index; returns None, having counted
            why, or raises `BrokenImage`, where that cannot be.
        index: Of the first picture to try.
        count: Of pictures to draw from.
        rng: Where others are drawn from.
        report: Counts broken pictures.

    Raises:
        RuntimeError: A hundred pictures in a row cannot be used.
    """
    for _ in range(TRIES):
        try:
            made = make(index, rng, report)
        except BrokenImage as error:
            note(report, 'broken_images', str(error))
        else:
            if made is not None:
                return made
        index = int(rng.integers(count))
    raise RunError(
        f'{TRIES} pictures in a row could not be used, for example '
        f'{report["examples"][0]}; check where the images are looked for'
    )


@DATASETS.register_module()
class PairDataset(Dataset):
    """Training pairs: a picture as a tensor and one of its captions.

    Asked for by (index, draw), where draw is the number of the pair in the
    whole run. Every random choice comes from (seed, draw), so that a pair is
    the same whichever worker makes it, and in a run that was resumed.

    Args:
        source: A `PairSource` or its config.
        tokenizer: A tokenizer or its config.
        image_size: Side of the pictures in pixels.
        resize: 'stretch' or 'crop', see `resize_picture`.
        crop_scale: Shares of the area that random crops keep, None for none.
        flip: Mirror half of the pictures.
        seed: Of all random choices.
        patch_masks: 'boxes' or 'segments' of the source, to say where words
            that name objects may look: pairs then have a `patch_mask`. None
            lets every word look everywhere. Boxes are in pixels of the whole
            picture, which is then decoded in full.
        patch_size: Side of the image encoder's patches, for `patch_masks`.
        features: File of feature maps of the source's pictures, which pairs
            then have in place of the pictures; nothing is decoded.

    Raises:
        ValueError: The source has no pictures, or no boxes or segments where
            they are asked for; or patches that do not tile the picture; or
            `features` of other pictures, or beside what changes pictures.
    """

    def __init__(
        self,
        source: PairSource | dict,
        tokenizer: Tokenizer | dict,
        image_size: int = 224,
        resize: Resize = 'stretch',
        crop_scale: tuple[float, float] | None = None,
        flip: bool = False,
        seed: int = 0,
        patch_masks: Kind | None = None,
        patch_size: int | None = None,
        features: str | Path | None = None,
    ) -> None:
        if isinstance(source, dict):
            source = DATASETS.build(source)
        if isinstance(tokenizer, dict):
            tokenizer = TOKENIZERS.build(tokenizer)
        if not len(source):
            raise UsageError(
                f'{type(source).__name__} has no pictures to train on'
            )
        self.source = source
        self.seed = seed
        self.transform = PairTransform(
            tokenizer, image_size, resize, crop_scale, flip
        )
        self.patch_masks = None
        self._at_least: int | None = self.transform.at_least
        if patch_masks is not None:
            self.patch_masks = PatchMasks(patch_masks, image_size, patch_size)
            self.patch_masks.check(source)
        if patch_masks == 'boxes':
            self._at_least = None
        self.features = None
        if features is not None:
            if crop_scale or flip or patch_masks:
                raise UsageError(
                    'feature maps are of whole pictures as they are: leave '
                    'out crop_scale, flip and patch_masks, or features'
                )
            self.features = FeatureMaps(features)
            if len(self.features) != len(source):
                raise UsageError(
                    f'{features} has {len(self.features)} feature maps and '
                    f'the source {len(source)} pictures'
                )

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.source)

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """Makes a pair.

        Args:
            place: Index of the picture, and number of the pair in the run.

        Returns:
            The pair; one drawn in its place, and counted, where the picture
            is broken or has no caption.

        Raises:
            RuntimeError: A hundred pictures in a row cannot be used.
        """
        index, draw = place
        rng = np.random.default_rng((self.seed, draw))
        report = new_report(pairs=1)
        return first_usable(self._make, index, len(self), rng, report)

    def _make(
        self, index: int, rng: np.random.Generator, report: Report
    ) -> Sample | None:
        """The pair of a picture, None where there is no caption.

        Raises:
            BrokenImage: It cannot be read.
        """
        key = self.source.key(index)
        captions = self.source.captions(index)
        chosen = self.transform.caption(captions, rng, report, key)
        if chosen is None:
            return None
        if self.features is not None:
            return Sample(self._kept(index), chosen.tokens, report)
        picture = self.source.image(index, self._at_least)
        view = self.transform.view(picture.size, rng)
        image = self.transform.image(picture, view)
        mask = self._patch_mask(index, view, chosen, report)
        return Sample(image, chosen.tokens, report, mask)

    def _kept(self, index: int) -> Tensor:
        """The picture's (C, rows, columns) feature map."""
        kept = self.features.read(index)
        if kept is None:
            raise BrokenImage(
                self.source.key(index), 'unreadable when features were kept'
            )
        return kept

    def _patch_mask(
        self, index: int, view: View, chosen: Chosen, report: Report
    ) -> Tensor | None:
        """(L, P) bool, where each token may look, or None without masks.

        Annotations that make no sense are counted, and hold nobody back.
        """
        if self.patch_masks is None:
            return None
        words = self.transform.tokenizer.word_spans(chosen.text)
        objects = {}
        # Whatever a damaged annotation makes its reader raise.
        try:
            objects = self.patch_masks.objects(self.source, index, view)
        except Exception as error:
            problem = f'{self.source.key(index)}: {error!r}'
            note(report, 'skipped_rows', problem)
        return self.patch_masks.of_tokens(chosen.tokens.words, words, objects)
