"""Other people's encoders in place of ours, with their weights.

`HuggingFaceText` runs any text model of transformers, `MMPretrainVision` any
mmpretrain backbone that has a feature map. Both speak the same language as
`TextTransformer` and `SparcViT`, so that the pretrainer cannot tell them
apart.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from mmpretrain.models.utils import to_2tuple
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.models.encoders.vision import PatchFeatures
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch
from sparc_vlm.weights import load_named


@MODELS.register_module()
class HuggingFaceText(nn.Module):
    """A text model of transformers as caption encoder.

    Give either `pretrained` (weights and architecture) or `config` (the
    architecture alone, random weights).

    Args:
        pretrained: Folder or hub name; weights are read from safetensors.
        config: transformers' configuration as a dict with `model_type`.
        frozen_layers: -1 trains everything, 0 freezes the embeddings, n also
            the first n layers.

    Raises:
        ValueError: Neither or both of `pretrained` and `config`, or a model
            whose layers cannot be found although some are to be frozen.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        frozen_layers: int = -1,
    ) -> None:
        super().__init__()
        if (pretrained is None) == (config is None):
            raise UsageError(
                'HuggingFaceText needs either pretrained (a folder or hub '
                'name) or config (a dict with model_type)'
            )
        from transformers import MODEL_MAPPING, AutoConfig, AutoModel

        if pretrained is not None:
            # Whatever type it was saved in, training needs float32.
            model = AutoModel.from_pretrained(
                pretrained, use_safetensors=True, dtype=torch.float32
            )
        else:
            config = dict(config)
            model = AutoModel.from_config(
                AutoConfig.for_model(config.pop('model_type'), **config)
            )
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        # CLIP-like models keep their text tower under this name.
        self.model = getattr(model, 'text_model', model).float()
        # transformers builds but some of the towers by themselves.
        is_built = type(self.model.config) in MODEL_MAPPING
        self._built_from = self.model.config if is_built else model.config
        self._leave_out_unused()
        self.embed_dims = self.model.config.hidden_size
        self.frozen_layers = frozen_layers
        if frozen_layers >= 0:
            self._freeze()

    def forward(self, tokens: TokenBatch) -> Tensor:
        """(N, C) last hidden states of the tokens, packed.

        Args:
            tokens: Captions, begin/end marks included where the model was
                trained with them. Padding exists between here and the model
                alone; its mask comes from the lengths.
        """
        mask = tokens.mask
        output = self.model(
            input_ids=tokens.pad(tokens.ids), attention_mask=mask.long()
        )
        return output.last_hidden_state[mask]

    def portable_cfg(self) -> dict[str, Any]:
        """The config that rebuilds the architecture without its weights."""
        return dict(
            type='HuggingFaceText',
            config=self._built_from.to_diff_dict()
            | dict(model_type=self._built_from.model_type),
            frozen_layers=self.frozen_layers,
        )

    def train(self, mode: bool = True) -> HuggingFaceText:
        """Sets the mode; frozen layers stay in eval mode."""
        super().train(mode)
        if mode and self.frozen_layers >= 0:
            self._freeze()
        return self

    def _leave_out_unused(self) -> None:
        """Takes out what makes pooled outputs, which are not used here.

        Weights without a gradient would stop distributed training.
        """
        if getattr(self.model, 'pooler', None) is not None:
            self.model.pooler = None
        if isinstance(getattr(self.model, 'head', None), nn.Linear):
            self.model.head = nn.Identity()
        for name, weights in self.model.named_parameters():
            if 'crossattention' in name:
                weights.requires_grad_(False)

    def _freeze(self) -> None:
        stacks = [
            module
            for module in self.model.modules()
            if isinstance(module, nn.ModuleList)
        ]
        if not stacks:
            raise UsageError(
                f'no stack of layers found in {type(self.model).__name__}: '
                'leave frozen_layers at -1'
            )
        layers = max(stacks, key=len)
        frozen = [self.model.get_input_embeddings()]
        for name, module in self.model.named_children():
            if 'embed' in name:
                frozen.append(module)
        for module in [*frozen, *layers[: self.frozen_layers]]:
            module.eval().requires_grad_(False)


@MODELS.register_module()
class MMPretrainVision(nn.Module):
    """An mmpretrain backbone with a feature map as image encoder.

    Args:
        backbone: Config of the backbone, as in mmpretrain; its own
            `frozen_stages` and `init_cfg` work as they do there.
        out_index: Which of its feature maps becomes the patches.
        checkpoint: .pth, .safetensors or folder with weights; every key of
            the backbone must be in it.
        prefix: Of the backbone's keys in the checkpoint, 'backbone.' in
            mmpretrain's own.
        frozen: Freeze the whole backbone, normalisation statistics included.

    Raises:
        ValueError: A backbone without a (B, C, H, W) feature map there.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        out_index: int = -1,
        checkpoint: str | None = None,
        prefix: str | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        # Names are mmpretrain's, whatever scope training runs under.
        self.backbone = MMPRETRAIN_MODELS.build(
            {'_scope_': 'mmpretrain', **backbone}
        )
        self.out_index = out_index
        self.frozen = frozen
        self._is_loaded = checkpoint is not None
        self._cfg = dict(backbone)
        self.embed_dims = self._probe_width()
        if checkpoint is not None:
            start = dict(checkpoint=checkpoint, prefix=prefix)
            load_named(self.backbone, start)
        if frozen:
            self.backbone.requires_grad_(False)
            self.backbone.eval()

    def forward_patches(self, images: Tensor) -> PatchFeatures:
        """The cells of the chosen feature map as patches.

        Args:
            images: (B, 3, H, W).
        """
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and not self.frozen
        ):
            features = self.backbone(images)[self.out_index]
        grid = features.shape[2:]
        return PatchFeatures(features.flatten(2).transpose(1, 2), tuple(grid))

    def init_weights(self) -> None:
        """Hands mmengine's call on, unless weights were loaded before."""
        if not self._is_loaded:
            self.backbone.init_weights()

    def portable_cfg(self) -> dict[str, Any]:
        """The config that rebuilds the architecture without its weights."""
        return dict(
            type='MMPretrainVision',
            backbone={k: v for k, v in self._cfg.items() if k != 'init_cfg'},
            out_index=self.out_index,
            frozen=self.frozen,
        )

    def train(self, mode: bool = True) -> MMPretrainVision:
        """Sets the mode; a frozen backbone stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    @torch.no_grad()
    def _probe_width(self) -> int:
        was_training = self.backbone.training
        self.backbone.eval()  # mmpretrain's returns nothing
        height, width = to_2tuple(getattr(self.backbone, 'img_size', 64))
        outputs = self.backbone(torch.zeros(1, 3, height, width))
        self.backbone.train(was_training)
        features = None
        if isinstance(outputs, (tuple, list)):
            with suppress(IndexError):
                features = outputs[self.out_index]
        if not isinstance(features, Tensor) or features.ndim != 4:
            raise UsageError(
                f'{self._cfg["type"]} has no (B, C, H, W) feature map at '
                f'out_index {self.out_index}; set its out_type or '
                'out_indices so that it does'
            )
        return features.shape[1]
