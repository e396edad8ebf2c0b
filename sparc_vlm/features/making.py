"""Runs a frozen trunk on the pictures of a source, into a file of maps.

Pictures are prepared as `encode_image` prepares them, to the bit, so that the
maps stand for what it would compute.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from torch import Tensor

from sparc_vlm.errors import RunError, UsageError
from sparc_vlm.evaluation.encoding import image_chunks
from sparc_vlm.evaluation.task import spread_evenly
from sparc_vlm.feature_maps import (
    SUFFIX,
    UNREADABLE,
    FeatureMaps,
    Header,
    MapWriter,
    fingerprint,
    fingerprints,
    one_writer,
    read_header,
)
from sparc_vlm.preprocess import picture_batch
from sparc_vlm.registry import MODELS

Say = Callable[[str], None]
BATCH = 64
"""Pictures that the trunk takes at a time."""
LOOK_AT = 32
"""Pictures that are looked at again before maps of them are taken."""
FIRST_NEWS, NEWS = 5.0, 30.0
"""Seconds until the first estimate, and between those that follow."""


class MapMaker:
    """Files of maps for sources of pictures, made where they are missing.

    Args:
        model_cfg: Config of an `ImageTextPretrainer` whose image encoder is
            a `TrunkWithLayers`.
        folder: Where files of maps are.
        say: Told what is done.

    Attributes:
        vision: The encoder, its weights initialised, in eval mode.
        encoder: Fingerprint of its trunk.
    """

    def __init__(
        self, model_cfg: dict[str, Any], folder: Path, say: Say
    ) -> None:
        preparing = model_cfg.get('data_preprocessor')
        with DefaultScope.overwrite_default_scope('sparc_vlm'):
            preparing = MODELS.build(
                preparing or dict(type='PairPreprocessor')
            )
            vision = MODELS.build(model_cfg['vision'])
        vision.init_weights()
        self.device = torch.device(get_device())
        self.preprocessor = preparing.to(self.device)
        self.vision = vision.to(self.device).eval()
        self.encoder = ''
        self.size = model_cfg.get('image_size', 224)
        self.resize = model_cfg.get('resize', 'stretch')
        self.folder = folder
        self.say = say

    def file(
        self, source: Any, indices: Sequence[int], about: dict[str, Any]
    ) -> Path:
        """The file of a source's maps, made if need be.

        Args:
            source: Where the pictures come from.
            indices: Which ones.
            about: What the source is, in plain values.

        Raises:
            RunError: There is no room for it.
            UsageError: None of the pictures can be read.
        """
        ends = torch.tensor([0, 255], dtype=torch.uint8, device=self.device)
        pictures = fingerprint(
            {
                'source': about,
                'keys': [source.key(index) for index in indices],
                'size': self.size,
                'resize': self.resize,
            },
            # How they are normalised shows in black and in white.
            {'': self.preprocessor.normalise(ends.view(2, 1, 1, 1))},
        )
        shape = self.vision.map_shape
        header = Header(self.encoder, pictures, len(indices), shape)
        kind = str(about.get('type', 'source')).rpartition('.')[2]
        path = self.folder / (
            f'{kind}-{pictures[:8]}-{self.encoder[:8]}{SUFFIX}'
        )
        what = (
            f'{header.count} maps of {" x ".join(map(str, shape))} in {path} '
            f'({header.size / 1e6:.0f} MB)'
        )
        with one_writer(self.folder):
            if self._is_current(path, header, source, indices):
                self.say(f'features: taken as they are, {what}')
            else:
                self.say(f'features: computed once and kept, {what}')
                self._make(path, header, source, indices)
        return path

    def _is_current(
        self, path: Path, header: Header, source: Any, indices: Sequence[int]
    ) -> bool:
        """Whether there is such a file, of the pictures that there are now."""
        if read_header(path) != header:
            return False
        if self._look_the_same(FeatureMaps(path).marks, source, indices):
            return True
        self.say(f'features: {path} is of other pictures, so made anew')
        return False

    def _look_the_same(
        self, marks: Sequence[bytes], source: Any, indices: Sequence[int]
    ) -> bool:
        """Whether some pictures are what they were.

        Those that could not be read are looked at first: they may have been
        mended.
        """
        gone = [row for row, mark in enumerate(marks) if mark == UNREADABLE]
        rows = {*gone[:LOOK_AT], *spread_evenly(len(marks), LOOK_AT)}
        for row in sorted(rows):
            try:
                pictures = [source.image(indices[row])]
                mark = fingerprints(self._prepared(pictures))[0]
            # Whatever a damaged file makes a decoder raise.
            except Exception:
                mark = UNREADABLE
            if mark != marks[row]:
                return False
        return True

    def _make(
        self, path: Path, header: Header, source: Any, indices: Sequence[int]
    ) -> None:
        """Computes a file of maps, or what is missing of it."""
        writer = MapWriter(path, header)
        if not self._look_the_same(writer.marks, source, indices):
            writer.restart()
        free = shutil.disk_usage(path.parent).free
        if header.size - writer.done * header.map_bytes > free:
            writer.close()
            raise RunError(
                f'{path.parent} has room for {free / 1e6:.0f} MB and the '
                f'features take {header.size / 1e6:.0f} MB: name another '
                'folder, or set keep_features=None'
            )
        broken: dict[int, str] = {}
        try:
            for marks, maps in self._maps(
                source, indices, writer.done, broken
            ):
                writer.append(marks, maps)
        finally:
            writer.close()
        if broken:
            self.say(
                f'features: {len(broken)} pictures could not be read, such '
                f'as {next(iter(broken.values()))}'
            )

    def _maps(
        self,
        source: Any,
        indices: Sequence[int],
        done: int,
        broken: dict[int, str],
    ) -> Iterator[tuple[list[bytes], Tensor]]:
        """Fingerprints and maps of pictures in order, one at a time."""
        rest = indices[done:]
        blank = torch.zeros(1, *self.vision.map_shape)
        chunks = image_chunks(source, rest, BATCH, broken, self._news())
        last = 0
        # That none can be read is an error only if none could before.
        with suppress(UsageError) if done else nullcontext():
            for good, pictures in chunks:
                images = self._prepared(pictures)
                maps = self.vision.trunk_maps(images).cpu()
                marks = dict(zip(good, fingerprints(images), strict=True))
                made = dict(zip(good, maps.split(1), strict=True))
                first, last = last, rest.index(good[-1], last) + 1
                for index in rest[first:last]:
                    mark = marks.get(index, UNREADABLE)
                    yield [mark], made.get(index, blank)
        for _ in rest[last:]:
            yield [UNREADABLE], blank

    def _prepared(self, pictures: Sequence[Any]) -> Tensor:
        """(B, 3, H, W) as the trunk is given them."""
        batch = picture_batch(pictures, self.size, self.resize)
        return self.preprocessor.normalise(batch.to(self.device))

    def _news(self) -> Callable[[str, int, int], None]:
        """Tells now and then how far it has come and how long it takes."""
        start = time.monotonic()
        due = start + FIRST_NEWS

        def tell(what: str, done: int, total: int) -> None:
            nonlocal due
            now = time.monotonic()
            if now < due:
                return
            due = now + NEWS
            left = (now - start) / done * (total - done)
            self.say(
                f'features: {done} of {total} {what}, {left / 60:.1f} min left'
            )

        return tell
