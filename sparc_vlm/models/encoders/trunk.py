"""TrunkWithLayers: another's trained encoder under a few layers of our own.

Where the trunk is frozen, what it gives for a picture never changes: those
feature maps can be kept (`feature_maps.py`) and handed in instead of the
picture, so that training runs the layers alone. As SparcViT, it has two ways
out: `forward` for detectors, `forward_patches` for everything else.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.models.encoders.vision import PatchFeatures, SparcViT
from sparc_vlm.models.modes import evaluating
from sparc_vlm.registry import MODELS
from sparc_vlm.weights import is_pretrained, load_named, unless_empty


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
        init_cfg: Of both parts; `dict(type='Pretrained', checkpoint=...,
            prefix='vision.')` takes what `SparcViT` takes. None leaves each
            part to its own, or random.
        **layers: Further arguments of the layers, a `SparcViT` whose patches
            are the cells of the feature map.

    Raises:
        ValueError: An `init_cfg` of another type.

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
        init_cfg: dict[str, Any] | None = None,
        **layers: Any,
    ) -> None:
        super().__init__()
        self.init_cfg = unless_empty(init_cfg)
        if not (self.init_cfg is None or is_pretrained(self.init_cfg)):
            raise UsageError(
                "init_cfg of TrunkWithLayers can be of type 'Pretrained' "
                'alone: say in trunk how the trunk begins'
            )
        # Names are ours, whatever scope training runs under.
        self.trunk = MODELS.build({'_scope_': 'sparc_vlm', **trunk})
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

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps (B, C, rows, columns) of the chosen layers.

        Args:
            images: As `forward_patches` takes them.
        """
        return self.layers(self._cells(images))

    def forward_patches(self, images: Tensor) -> PatchFeatures:
        """The map's cells after the last layer, as patches.

        Args:
            images: (B, 3, H, W) pictures; or, if the trunk is frozen, its
                (B, C, rows, columns) feature maps of them.

        Raises:
            ValueError: Maps of a trunk that is being trained, or of another.
        """
        return self.layers.forward_patches(self._cells(images))

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
        """Weights of `init_cfg`, or else each part's own."""
        if self.init_cfg is not None:
            load_named(self, self.init_cfg)
            return
        for part in (self.trunk, self.layers):
            if hasattr(part, 'init_weights'):
                part.init_weights()

    def get_layer_depth(
        self, param_name: str, prefix: str = ''
    ) -> tuple[int, int]:
        """As `SparcViT.get_layer_depth`; the trunk lies before the layers.

        Args:
            param_name: The parameter's name in the whole model.
            prefix: What the names of this encoder's begin with.
        """
        if param_name.startswith(f'{prefix}trunk.'):
            param_name = f'{prefix}layers.pos_embed'
        return self.layers.get_layer_depth(param_name, f'{prefix}layers.')

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

    def _cells(self, images: Tensor) -> Tensor:
        """What the layers take, of pictures or of maps handed in."""
        if images.shape[1] == 3:
            maps = self._maps_of(images)
        else:
            maps = images
            self._check(maps)
        return maps.to(self.layers.pos_embed)

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
