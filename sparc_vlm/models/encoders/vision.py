"""SparcViT: mmpretrain's vision transformer as SPARC and detectors use it.

One backbone with two ways out: `forward` gives feature maps of chosen layers
(what OpenMMLab detectors expect), `forward_patches` the last layer's tokens
(what pretraining and zero-shot tasks expect).
"""

from __future__ import annotations

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
from sparc_vlm.models.encoders.architectures import architecture
from sparc_vlm.models.encoders.positions import fit_positions
from sparc_vlm.models.encoders.windows import Windows, use_windows
from sparc_vlm.registry import MODELS
from sparc_vlm.weights import is_pretrained, load_named, unless_empty


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
        window_size: Patches a side of the windows that layers attend in, for
            large images (ViTDet uses 14); 0 is global attention everywhere.
            Of the weights it changes nothing.
        global_layers: With windows, the layers that attend globally all the
            same; None for four, the last layer of each quarter.
        init_cfg: mmengine's; `dict(type='Pretrained', checkpoint=...,
            prefix='vision.')` takes a .pth, a .safetensors or a saved model
            folder, and stops if keys do not fit; random with None.
        **kwargs: Further arguments of mmpretrain's VisionTransformer.

    Raises:
        ValueError: An unknown architecture, a rate outside [0, 1), a layer
            that is not there, a `patch_cfg` whose patches are no tiles, or
            windows over patches of which some are dropped.
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
        window_size: int = 0,
        global_layers: Sequence[int] | None = None,
        init_cfg: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 <= patch_drop_rate < 1:
            raise UsageError(
                f'patch_drop_rate must be in [0, 1), got {patch_drop_rate}'
            )
        if window_size and patch_drop_rate:
            raise UsageError(
                'windows need every patch: set window_size or '
                'patch_drop_rate to 0'
            )
        if isinstance(out_indices, int):
            out_indices = [out_indices]
        super().__init__(
            arch=architecture(arch),
            img_size=img_size,
            patch_size=patch_size,
            out_indices=list(out_indices),
            # Frozen below: the parent takes 0 for "nothing".
            frozen_stages=-1,
            drop_path_rate=drop_path_rate,
            with_cls_token=False,
            out_type='featmap',
            init_cfg=unless_empty(init_cfg),
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
        self.window_size = window_size
        self.windowed_layers = use_windows(
            self.layers, window_size, global_layers
        )
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
        windows = Windows(grid, self.window_size)
        outputs = self._run_layers(windows.cut(tokens), windows)
        maps = []
        for index, output in enumerate(outputs):
            if index in self.out_indices:
                output = windows.join(output)
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
        windows = Windows(grid, self.window_size)
        for output in self._run_layers(windows.cut(tokens), windows):
            tokens = output
        return PatchFeatures(windows.join(tokens), grid, kept)

    def init_weights(self) -> None:
        """Random weights, or those of `init_cfg` with every key accounted."""
        if not is_pretrained(self.init_cfg):
            super().init_weights()
            return
        load_named(self, self.init_cfg)
        self._is_init = True

    def get_layer_depth(
        self, param_name: str, prefix: str = ''
    ) -> tuple[int, int]:
        """How deep a parameter lies, for layer-wise learning rates.

        Args:
            param_name: The parameter's name in the whole model.
            prefix: What the names of this transformer's begin with.

        Returns:
            Its depth, 0 for what comes before the layers, and the number of
            depths, the last of which is for what comes after them.
        """
        depth, depths = super().get_layer_depth(param_name, prefix)
        # The parent takes it for something behind the layers.
        is_before = param_name.startswith(prefix + 'pre_norm')
        return (0 if is_before else depth), depths

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

    def _run_layers(
        self, tokens: Tensor, windows: Windows | None = None
    ) -> Iterator[Tensor]:
        """Yields the tokens after each layer; the last with its norm."""
        for index, layer in enumerate(self.layers):
            more = (windows,) if index in self.windowed_layers else ()
            if self.with_cp and self.training:
                tokens = checkpoint(layer, tokens, *more, use_reentrant=False)
            else:
                tokens = layer(tokens, *more)
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
        fit_positions(
            state_dict,
            prefix,
            self.pos_embed,
            self.patch_resolution,
            self.interpolate_mode,
        )
