"""The vision part of a captioner by itself: pictures become tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparc_vlm import hub
from sparc_vlm.captioning.captioner import Captioner
from sparc_vlm.captioning.loading import locate_eyes
from sparc_vlm.captioning.saving import PROJECTOR, plain, write_projector
from sparc_vlm.devices import find_device
from sparc_vlm.files import write_json
from sparc_vlm.preprocess import Picture, picture_batch
from sparc_vlm.registry import MODELS
from sparc_vlm.weights import load_into, read_weights

PART = 'vision'


class Vision(nn.Module):
    """Eyes and a projector; what `load_vision` returns.

    Args:
        eyes: The image encoder.
        projector: From its patches to tokens of a language model.
    """

    def __init__(self, eyes: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.eyes = eyes
        self.projector = projector

    @torch.no_grad()
    def forward(self, images: Picture | Sequence[Picture]) -> Tensor:
        """(B, T, D) tokens, to be put among embedded words.

        Args:
            images: PIL pictures or paths, one or several.
        """
        pixels = picture_batch(images, self.eyes.image_size, self.eyes.resize)
        device = next(self.projector.parameters()).device
        patches, grid, _ = self.eyes(pixels.to(device))
        return self.projector(patches, grid)


def save_vision(
    captioner: Captioner, projector: dict[str, Any], folder: Path
) -> None:
    """Writes the vision part of a captioner.

    Args:
        captioner: The captioner.
        projector: Config of its projector.
        folder: Where to; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    captioner.eyes.write(folder)
    write_projector(captioner.projector.state_dict(), folder)
    widths = dict(
        in_dims=captioner.eyes.embed_dims,
        out_dims=captioner.language.embed_dims,
    )
    described = dict(
        eyes=captioner.eyes.describe(), projector=dict(projector) | widths
    )
    write_json(
        folder / hub.CONFIG_FILE,
        {'format': hub.FORMAT, PART: plain(described)},
    )


def load_vision(folder: str | Path, device: str = 'cpu') -> Vision:
    """Loads what `save_vision` wrote.

    Args:
        folder: The folder.
        device: Where to put it.

    Raises:
        ValueError: There is no such device.
        WeightsError: There is no such folder, or it is damaged.
    """
    place = find_device(device)
    folder = hub.model_folder(Path(folder).expanduser())
    cfg = hub.read_config(folder / hub.CONFIG_FILE, PART)
    locate_eyes(cfg['eyes'], folder)
    eyes, projector = (
        MODELS.build(dict(cfg[part], _scope_='sparc_vlm'))
        for part in ('eyes', 'projector')
    )
    load_into(projector, read_weights(folder / PROJECTOR))
    return Vision(eyes, projector).to(place).eval()
