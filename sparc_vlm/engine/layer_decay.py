"""Layers near the picture learn slower than those near the output.

What a pretrained transformer's first layers know holds for any task. Each
layer therefore learns at a fixed share of the rate of the one above it
(BEiT, arXiv 2106.08254; ViTDet, arXiv 2203.16527).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from sparc_vlm.engine.param_groups import GroupingConstructor
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(GroupingConstructor):
    """Layer-wise learning rates for a transformer inside any model.

    `paramwise_cfg` is mmengine's with one more entry::

        layer_decay=dict(rate=0.7, prefix='backbone.')

    What comes after the transformer's n layers, and everything outside it,
    keeps its learning rate; the last layer gets `rate` times as much, the
    first `rate ** n`, patch and position embeddings `rate ** (n + 1)`. An
    `lr_mult` of mmengine's is multiplied with that. `prefix` is where the
    transformer is, 'backbone.' if left out; it must know the depth of its
    parameters (`get_layer_depth`), as SparcViT and mmpretrain's do.

    A schedule that multiplies keeps the shares; one that ends at a fixed
    rate (`eta_min`) does not, but `eta_min_ratio` does.

    Args:
        optim_wrapper_cfg: mmengine's; its optimizer names its `lr`.
        paramwise_cfg: As above.

    Raises:
        ValueError: Without a learning rate, a decay in (0, 1], or a
            transformer at `prefix`.
    """

    def __init__(
        self,
        optim_wrapper_cfg: dict[str, Any],
        paramwise_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        decay = self.paramwise_cfg.get('layer_decay')
        if (
            not isinstance(decay, dict)
            or not {'rate'} <= set(decay) <= {'rate', 'prefix'}
            or not 0 < decay['rate'] <= 1
        ):
            raise UsageError(
                'LayerDecayConstructor needs paramwise_cfg=dict(layer_decay='
                "dict(rate=0.7, prefix='backbone.')) with a rate in (0, 1], "
                f'got layer_decay={decay}'
            )
        self.rate: float = decay['rate']
        # Of the module itself, as `named_modules` has it.
        self.name: str = decay.get('prefix', 'backbone.').rstrip('.')
        if self.base_lr is None:
            raise UsageError(
                'layer-wise learning rates need the one they start from: '
                'set lr in optimizer'
            )

    def change_groups(
        self, groups: list[dict[str, Any]], model: nn.Module
    ) -> None:
        """Gives each parameter its own layer's learning rate.

        Args:
            groups: One for each parameter; changed in place.
            model: Where the transformer is.
        """
        transformer = self._transformer(model)
        prefix = f'{self.name}.' if self.name else ''
        names = {id(p): name for name, p in model.named_parameters()}
        for group in groups:
            (parameter,) = group['params']
            depth, depths = transformer.get_layer_depth(
                names[id(parameter)], prefix
            )
            share = self.rate ** (depths - 1 - depth)
            group['lr'] = group.get('lr', self.base_lr) * share
            if self.base_wd is not None:
                group.setdefault('weight_decay', self.base_wd)
            # What they did is in the two above, and would keep groups apart.
            group.pop('lr_mult', None)
            group.pop('decay_mult', None)

    def _transformer(self, model: nn.Module) -> nn.Module:
        modules = dict(model.named_modules())
        found = modules.get(self.name)
        if hasattr(found, 'get_layer_depth'):
            return found
        known = [
            n for n, m in modules.items() if hasattr(m, 'get_layer_depth')
        ]
        if known:
            advice = f'set prefix to {" or ".join(map(repr, known))}'
        else:
            advice = 'no part of it knows the depth of its layers'
        raise UsageError(
            f'layer_decay found no transformer at {self.name!r} in '
            f'{type(model).__name__}: {advice}'
        )
