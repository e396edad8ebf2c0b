"""SparcViT: mmpretrain's vision transformer as SPARC and detectors use it.

One backbone with two ways out: `forward` gives feature maps of chosen layers
(what OpenMMLab detectors expect), `forward_patches` the last layer's tokens
(what pretraining and zero-shot tasks expect).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sparc_vlm.errors import UsageError
from sparc_vlm.models.attention import PatchAttention
from sparc_vlm.registry import MODELS
from sparc_vlm.weights import load_into, read_weights, select_prefix

ARCHITECTURES = {
    'mini': (128, 5, 4),
    'tiny': (192, 12, 3),
    'small': (384, 12, 6),
    'base': (768, 12, 12),
    'large': (1024, 24, 16),
}
"""Width, layers and heads; the hidden layer is 4 times the width."""


class PatchFeatures(NamedTuple):
    """Patch tokens of a batch of images.

    Attributes:
        values: (B, P, C) tokens after the last layer and its norm.
        grid: Rows and columns of the whole picture's patches.
        kept: (B, P) index into the rows * columns patches where some were
            dropped, None where all are there in reading order.
    """

    values: Tensor
    grid: tuple[int, int]
    kept: Tensor | None = None


@MODELS.register_module()
class SparcViT(VisionTransformer):
    """Vision transformer without a class token.

    Args:
        arch: 'mini', 'tiny', 'small', 'base', 'large', or a dict with
            embed_dims, num_layers, num_heads and feedforward_channels.
        img_size: Usual input size in pixels; any other works too, position
            embeddings are resized to it.
        patch_size: Side of a patch in pixels.
        out_indices: Layers whose feature maps `forward` returns; negative
            ones count from the last.
        frozen_stages: -1 trains everything, 0 freezes patch and position
            embeddings, n also the first n layers.
        with_cp: Activation checkpointing: recompute each layer on the way
            back, for less memory and about a third more time.
        patch_drop_rate: Share of the patches left out of each training
            image, drawn anew each time; `forward_patches` only.
        drop_path_rate: Stochastic depth at the last layer.
        init_cfg: mmengine's; `dict(type='Pretrained', checkpoint=...,
            prefix='vision.')` takes a .pth, a .safetensors or a saved model
            folder, and stops if keys do not fit.
        **kwargs: Further arguments of mmpretrain's VisionTransformer.

    Raises:
        ValueError: An unknown architecture, a rate outside [0, 1), a layer
            that is not there, or a `patch_cfg` whose patches are no tiles.
    """

    def __init__(
        self,
        arch: str | dict[str, int] = 'base',
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        out_indices: int | Sequence[int] = -1,
        frozen_stages: int = -1,
        with_cp: bool = False,
        patch_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        init_cfg: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 <= patch_drop_rate < 1:
            raise UsageError(
                f'patch_drop_rate must be in [0, 1), got {patch_drop_rate}'
            )
        if isinstance(out_indices, int):
            out_indices = [out_indices]
        super().__init__(
            arch=_architecture(arch),
            img_size=img_size,
            patch_size=patch_size,
            out_indices=list(out_indices),
            # Frozen below: the parent takes 0 for "nothing".
            frozen_stages=-1,
            drop_path_rate=drop_path_rate,
            with_cls_token=False,
            out_type='featmap',
            init_cfg=init_cfg,
            **kwargs,
        )
        if len(self.layers) in self.out_indices:
            raise UsageError(
                f'out_indices must be below the {len(self.layers)} layers, '
                f'got {len(self.layers)}'
            )
        projection = self.patch_embed.projection
        if (
            projection.stride != projection.kernel_size
            or projection.dilation != (1, 1)
            or self.patch_embed.norm is not None
        ):
            raise UsageError(
                'SparcViT cuts images into plain tiles: leave stride, '
                'dilation and norm out of patch_cfg'
            )
        for layer in self.layers:
            # Same parameters, another forward: the parent offers no way in.
            layer.attn.__class__ = PatchAttention
        self.with_cp = with_cp
        self.patch_drop_rate = patch_drop_rate
        self.frozen_stages = frozen_stages
        if frozen_stages >= 0:
            self._freeze_stages()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps (B, C, rows, columns) of the chosen layers.

        Args:
            images: (B, 3, H, W); padded below and to the right to whole
                patches.
        """
        tokens, grid = self._embed(images)
        maps = []
        for index, output in enumerate(self._run_layers(tokens)):
            if index in self.out_indices:
                maps.append(self._format_output(output, grid))
        return tuple(maps)

    def forward_patches(self, images: Tensor) -> PatchFeatures:
        """Patch tokens of the last layer.

        Args:
            images: (B, 3, H, W).
        """
        tokens, grid = self._embed(images)
        kept = None
        if self.training and self.patch_drop_rate:
            tokens, kept = self._drop_patches(tokens)
        for output in self._run_layers(tokens):
            tokens = output
        return PatchFeatures(tokens, grid, kept)

    def init_weights(self) -> None:
        """Random weights, or those of `init_cfg` with every key accounted."""
        if not _is_pretrained(self.init_cfg):
            super().init_weights()
            return
        state = read_weights(self.init_cfg['checkpoint'])
        prefix = self.init_cfg.get('prefix')
        if prefix:
            state = select_prefix(state, prefix)
        load_into(self, state)
        self._is_init = True

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        images = self._whole_patches(images)
        projection = self.patch_embed.projection
        side = projection.kernel_size
        rows, columns = (
            images.shape[2] // side[0],
            images.shape[3] // side[1],
        )
        # A convolution whose stride is its kernel is a matrix product, which
        # is what it runs as here: several times faster backwards on a CPU.
        cells = images.unfold(2, side[0], side[0]).unfold(3, side[1], side[1])
        cells = cells.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        tokens = F.linear(cells, projection.weight.flatten(1), projection.bias)
        tokens = tokens + resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            (rows, columns),
            mode=self.interpolate_mode,
            num_extra_tokens=0,
        )
        return self.pre_norm(self.drop_after_pos(tokens)), (rows, columns)

    def _whole_patches(self, images: Tensor) -> Tensor:
        sides = self.patch_embed.projection.kernel_size
        missing = [
            -size % side
            for size, side in zip(images.shape[2:], sides, strict=True)
        ]
        if not any(missing):
            return images
        return F.pad(images, (0, missing[1], 0, missing[0]))

    def _run_layers(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yields the tokens after each layer; the last with its norm."""
        for index, layer in enumerate(self.layers):
            if self.with_cp and self.training:
                tokens = checkpoint(layer, tokens, use_reentrant=False)
            else:
                tokens = layer(tokens)
            if index == len(self.layers) - 1 and self.final_norm:
                tokens = self.ln1(tokens)
            yield tokens

    def _drop_patches(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        batch, patches, width = tokens.shape
        count = max(1, round(patches * (1 - self.patch_drop_rate)))
        order = torch.rand(batch, patches, device=tokens.device)
        kept = order.argsort(1)[:, :count].sort(1).values
        index = kept[..., None].expand(-1, -1, width)
        return tokens.gather(1, index), kept

    def _freeze_stages(self) -> None:
        """Freezes what `frozen_stages` names, dropout and depth included."""
        frozen = [self.patch_embed, self.pre_norm]
        frozen += list(self.layers[: self.frozen_stages])
        if self.frozen_stages >= len(self.layers) and self.final_norm:
            frozen.append(self.ln1)
        self.pos_embed.requires_grad_(False)
        self.drop_after_pos.eval()
        for module in frozen:
            module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> SparcViT:
        """Sets the mode; frozen layers stay in eval mode."""
        super().train(mode)
        if mode and self.frozen_stages >= 0:
            self._freeze_stages()
        return self

    def _prepare_pos_embed(
        self, state_dict: dict[str, Tensor], prefix: str, *_: Any
    ) -> None:
        """Fits loaded position embeddings: no class token, own grid."""
        name = prefix + 'pos_embed'
        loaded = state_dict.get(name)
        if loaded is None or loaded.shape[-1] != self.embed_dims:
            return
        if self._has_class_token(state_dict, prefix, loaded.shape[1]):
            loaded = loaded[:, 1:]
            state_dict.pop(prefix + 'cls_token', None)
        if loaded.shape != self.pos_embed.shape:
            if not _is_square(loaded.shape[1]):
                raise UsageError(
                    f'cannot resize {name}: its {loaded.shape[1]} position '
                    'embeddings do not make a square grid; set img_size to '
                    "the checkpoint's own"
                )
            side = math.isqrt(loaded.shape[1])
            loaded = resize_pos_embed(
                loaded,
                (side, side),
                self.patch_resolution,
                self.interpolate_mode,
                0,
            )
        state_dict[name] = loaded

    def _has_class_token(
        self, state_dict: dict[str, Tensor], prefix: str, count: int
    ) -> bool:
        """Whether `count` loaded position embeddings begin with its own."""
        if prefix + 'cls_token' in state_dict:
            return True
        if count == self.pos_embed.shape[1] or _is_square(count):
            return False
        return _is_square(count - 1) or count == self.pos_embed.shape[1] + 1


def _architecture(arch: str | dict[str, int]) -> dict[str, int]:
    if isinstance(arch, dict):
        return arch
    if arch not in ARCHITECTURES:
        raise UsageError(
            f'arch must be one of {list(ARCHITECTURES)} or a dict, got '
            f'{arch!r}'
        )
    width, layers, heads = ARCHITECTURES[arch]
    return dict(
        embed_dims=width,
        num_layers=layers,
        num_heads=heads,
        feedforward_channels=4 * width,
    )


def _is_pretrained(init_cfg: Any) -> bool:
    return isinstance(init_cfg, dict) and init_cfg['type'] == 'Pretrained'


def _is_square(count: int) -> bool:
    return math.isqrt(count) ** 2 == count
