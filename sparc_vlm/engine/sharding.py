"""A model whose parameters are shared out over the processes (FSDP).

Each process holds a piece of every parameter, of its gradient and of the
optimizer's state. What a run needs of the whole is put together here: the
norm of the gradients, weights and optimizer state for a checkpoint that any
number of processes can read, and a model to validate with.

All processes must call its methods at once, since they wait for each other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from mmengine import dist
from mmengine.registry import FUNCTIONS
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.nn.utils import get_total_norm

from sparc_vlm.engine.processes import from_first
from sparc_vlm.weights import load_into

LAYERS = ('TextLayer', 'TransformerEncoderLayer', 'WindowedLayer')


@FUNCTIONS.register_module()
def wrap_layers(
    module: nn.Module,
    recurse: bool,
    nonwrapped_numel: int,
    layers: tuple[str, ...] = LAYERS,
) -> bool:
    """A policy for FSDP: each transformer layer is fetched by itself.

    Args:
        module: The module that is asked about.
        recurse: Whether the question is to look further inside.
        nonwrapped_numel: Unused; FSDP hands it on.
        layers: Names of the layers' classes, of ours and mmpretrain's; other
            encoders have others.
    """
    return recurse or type(module).__name__ in layers


class Sharding:
    """A model that is shared out, and the way back to the whole.

    FSDP takes no scalars, so these (the temperature among them) stay whole
    in every process, and their gradients are averaged here.

    Args:
        model: Bare, on its device, with its first weights.
        wrap: Shares a model out; takes it and the parameters to leave whole.

    Attributes:
        wrapped: The model to train.
        device: Where it computes.
    """

    def __init__(
        self,
        model: nn.Module,
        wrap: Callable[[nn.Module, list[nn.Parameter]], nn.Module],
    ) -> None:
        self.device = next(model.parameters()).device
        # FSDP keeps the parameters as objects, though not what is in them.
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._scalars = [p for p in model.parameters() if p.ndim == 0]
        self._outline = _without_weights(model)
        self.wrapped = wrap(model, self._scalars)
        # On a CPU there is nowhere to offload to.
        self._whole = StateDictOptions(
            full_state_dict=True, cpu_offload=self.device.type != 'cpu'
        )

    def average_scalars(self) -> None:
        """Averages the gradients of parameters that are not shared out."""
        found = [p.grad for p in self._scalars if p.grad is not None]
        if found:
            values = torch.stack(found)
            dist.all_reduce(values, 'mean')
            for gradient, value in zip(found, values, strict=True):
                gradient.copy_(value)

    def norm(self, parameters: list[nn.Parameter], order: float) -> Tensor:
        """Norm of all gradients, of whose pieces each process has some.

        Args:
            parameters: Those that have a gradient in this process.
            order: Which norm; may be infinite.
        """
        scalars = {id(p) for p in self._scalars}
        pieces = [p.grad for p in parameters if id(p) not in scalars]
        whole = [p.grad for p in parameters if id(p) in scalars]
        of_pieces, of_whole = (
            get_total_norm(part, order).to(self.device).double()
            for part in (pieces, whole)
        )
        if order == float('inf'):
            dist.all_reduce(of_pieces, 'max')
            return torch.maximum(of_pieces, of_whole).float()
        power = of_pieces**order
        dist.all_reduce(power)
        return ((power + of_whole**order) ** (1 / order)).float()

    def weights(self) -> dict[str, Tensor]:
        """The whole weights, in the first process at least, on the CPU."""
        return get_model_state_dict(self.wrapped, options=self._whole)

    def load_weights(self, state: dict[str, Tensor], strict: bool) -> None:
        """Shares weights out.

        Args:
            state: Whole weights, the same in every process.
            strict: Whether every key must fit.

        Raises:
            WeightsError: They do not fit; in every process.
        """
        model = self.whole_model()
        from_first(lambda: load_into(model, state, strict))
        set_model_state_dict(
            self.wrapped,
            {} if model is None else model.state_dict(),
            options=StateDictOptions(
                full_state_dict=True, broadcast_from_rank0=True
            ),
        )

    def optimizer_state(
        self, optimizer: torch.optim.Optimizer
    ) -> dict[str, Any]:
        """The whole state, numbered as an optimizer of one process does.

        Args:
            optimizer: Of the shared-out parameters.

        Returns:
            Complete in the first process at least.
        """
        named = get_optimizer_state_dict(
            self.wrapped, optimizer, options=self._whole
        )
        numbers = self._numbers(optimizer)
        state = optimizer.state_dict()
        state['state'] = {
            numbers[name]: values
            for name, values in named.get('state', {}).items()
        }
        return state

    def load_optimizer(
        self, optimizer: torch.optim.Optimizer, state: dict[str, Any]
    ) -> None:
        """Shares an optimizer's state out.

        Args:
            optimizer: Of the shared-out parameters.
            state: As `optimizer_state` gives it, or one process's optimizer.
        """
        names = {i: n for n, i in self._numbers(optimizer).items()}
        named = {
            'state': {names[i]: v for i, v in state['state'].items()},
            'param_groups': [
                {**group, 'params': [names[i] for i in group['params']]}
                for group in state['param_groups']
            ],
        }
        set_optimizer_state_dict(
            self.wrapped,
            optimizer,
            named,
            options=StateDictOptions(full_state_dict=True),
        )

    def whole_model(self) -> nn.Module | None:
        """A copy with all weights in the first process; None in others."""
        weights = self.weights()
        if not dist.is_main_process():
            return None
        model = copy.deepcopy(self._outline)
        model.load_state_dict(weights, assign=True)
        return model.to(self.device)

    def _numbers(self, optimizer: torch.optim.Optimizer) -> dict[str, int]:
        """The number of each parameter's state, by its name."""
        parameters = [
            p for group in optimizer.param_groups for p in group['params']
        ]
        return {self._names[id(p)]: i for i, p in enumerate(parameters)}


def _without_weights(model: nn.Module) -> nn.Module:
    """A copy whose parameters take no memory; buffers are copied."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(
            torch.empty_like(p, device='meta'), requires_grad=p.requires_grad
        )
        for p in model.parameters()
    }
    return copy.deepcopy(model, memo)
