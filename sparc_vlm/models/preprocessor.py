"""PairPreprocessor: moves a batch to the device and normalises its images.

Images travel as bytes, a quarter of the traffic of floats, and become
floats where the model runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch


@MODELS.register_module()
class PairPreprocessor(BaseDataPreprocessor):
    """Preprocessor of image-text batches.

    Args:
        mean: Of each channel, of values between 0 and 255.
        std: Of each channel, likewise.
        non_blocking: Copy from pinned memory without waiting.
        late: Leaves bytes to the model, which normalises them a few at a
            time.
    """

    def __init__(
        self,
        mean: Sequence[float] = (127.5, 127.5, 127.5),
        std: Sequence[float] = (127.5, 127.5, 127.5),
        non_blocking: bool = True,
        late: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        self.late = late
        scale = 1 / torch.tensor(std).view(3, 1, 1)
        shift = -torch.tensor(mean).view(3, 1, 1) * scale
        self.register_buffer('scale', scale, persistent=False)
        self.register_buffer('shift', shift, persistent=False)

    def forward(
        self, data: dict[str, Any], training: bool = False
    ) -> dict[str, Any]:
        """Moves every tensor and normalises `data['images']`.

        Args:
            data: A batch; its `images` are (B, 3, H, W) uint8, or floating
                point and taken as they are.
            training: Unused; mmengine hands it on.
        """
        data = dict(self.cast_data(data))
        if data['images'].dtype == torch.uint8 and not self.late:
            data['images'] = self.normalise(data['images'])
        return data

    def cast_data(self, data: Any) -> Any:
        """Moves tensors; lengths of captions stay on the host.

        Args:
            data: Tensors, in any nesting of dicts, tuples and lists.
        """
        if not isinstance(data, TokenBatch):
            return super().cast_data(data)
        moved = {
            name: super(PairPreprocessor, self).cast_data(value)
            for name, value in data._asdict().items()
            if name != 'lengths'
        }
        return TokenBatch(**moved, lengths=data.lengths)

    def normalise(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) bytes as normalised floats.

        Args:
            images: uint8, on the preprocessor's device.
        """
        return torch.addcmul(self.shift, images.to(self.scale), self.scale)
