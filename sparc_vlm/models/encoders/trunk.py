"""TrunkWithLayers: another's trained encoder under a few layers of our own.

Where the trunk is frozen, what it gives for a picture never changes: those
feature maps can be kept (`feature_maps.py`) and handed in instead of the
picture, so that training runs the layers alone.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.models.encoders.vision import PatchFeatures, SparcViT
from sparc_vlm.models.modes import evaluating
from sparc_vlm.registry import MODELS


class KnownMaps(Protocol):
    """What a frozen trunk gave for pictures that it has seen before."""

    def find(self, images: Tensor) -> list[Tensor | None]:
        """The (C, rows, columns) map of each picture, None where unknown."""


@MODELS.register_module()
class TrunkWithLayers(nn.Module):
    """Transformer layers on the feature map of another image encoder.

    Args:
        trunk: Config of an image encoder with `forward_patches`, such as
            `MMPretrainVision`.
        arch: Of the layers, as `SparcViT` takes it.
        img_size: Usual side of the pictures in pixels.
        frozen: The trunk is not trained, its normalisation statistics
            included, and runs in full precision whatever the layers do.
        **layers: Further arguments of the layers, a `SparcViT` whose patches
            are the cells of the feature map.

    Attributes:
        known: Maps that need not be computed again outside of training, or
            None. Not part of the model: whoever has some puts them here.
    """

    def __init__(
        self,
        trunk: dict[str, Any],
        arch: str | dict[str, int],
        img_size: int = 224,
        frozen: bool = True,
        **layers: Any,
    ) -> None:
        super().__init__()
        self.trunk = MODELS.build(trunk)
        self.frozen = frozen
        self.known: KnownMaps | None = None
        self._cfg = dict(trunk=dict(trunk), arch=arch, img_size=img_size)
        self._cfg |= layers
        with torch.no_grad(), evaluating(self.trunk):
            probe = self.trunk.forward_patches(
                torch.zeros(1, 3, img_size, img_size)
            )
        self.map_shape = (probe.values.shape[2], *probe.grid)
        self.layers = SparcViT(
            arch,
            img_size=probe.grid,
            patch_size=1,
            in_channels=self.map_shape[0],
            **layers,
        )
        self.embed_dims = self.layers.embed_dims
        if frozen:
            self.trunk.requires_grad_(False)
            self.trunk.eval()

    def forward_patches(self, images: Tensor) -> PatchFeatures:
        """The map's cells after the last layer, as patches.

        Args:
            images: (B, 3, H, W) pictures; or, if the trunk is frozen, its
                (B, C, rows, columns) feature maps of them.

        Raises:
            ValueError: Maps of a trunk that is being trained, or of another.
        """
        if images.shape[1] == 3:
            maps = self._maps_of(images)
        else:
            maps = images
            self._check(maps)
        return self.layers.forward_patches(maps.to(self.layers.pos_embed))

    def trunk_maps(self, images: Tensor) -> Tensor:
        """(B, C, rows, columns) feature maps of the trunk.

        Args:
            images: (B, 3, H, W).
        """
        # Half as much time again for convolutions on a CPU, the same values.
        images = images.contiguous(memory_format=torch.channels_last)
        if not self.frozen:
            return _as_map(self.trunk.forward_patches(images))
        # As the maps that were kept were computed, whoever asks.
        with (
            torch.no_grad(),
            torch.autocast(images.device.type, enabled=False),
        ):
            return _as_map(self.trunk.forward_patches(images))

    def init_weights(self) -> None:
        """Hands mmengine's call on to both parts."""
        for part in (self.trunk, self.layers):
            if hasattr(part, 'init_weights'):
                part.init_weights()

    def portable_cfg(self) -> dict[str, Any]:
        """The config that rebuilds the architecture without its weights."""
        cfg = dict(self._cfg, type='TrunkWithLayers', frozen=self.frozen)
        if hasattr(self.trunk, 'portable_cfg'):
            cfg['trunk'] = self.trunk.portable_cfg()
        cfg['trunk'].pop('init_cfg', None)
        return cfg

    def train(self, mode: bool = True) -> TrunkWithLayers:
        """Sets the mode; a frozen trunk stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        return self

    def _maps_of(self, images: Tensor) -> Tensor:
        if self.known is None or self.training or not self.frozen:
            return self.trunk_maps(images)
        found = self.known.find(images)
        missing = [n for n, one in enumerate(found) if one is None]
        if missing:
            computed = self.trunk_maps(images[missing])
            for place, one in zip(missing, computed, strict=True):
                found[place] = one
        return torch.stack([one.to(images) for one in found])

    def _check(self, maps: Tensor) -> None:
        if not self.frozen:
            raise UsageError(
                'feature maps were handed to a trunk that is being trained: '
                'give it pictures, or freeze it'
            )
        if maps.shape[1] != self.map_shape[0]:
            raise UsageError(
                f'expected pictures of 3 channels or feature maps of '
                f'{self.map_shape[0]}, got {maps.shape[1]}'
            )


def _as_map(features: PatchFeatures) -> Tensor:
    """(B, P, C) patches as a (B, C, rows, columns) map."""
    return features.values.transpose(1, 2).unflatten(2, features.grid)
