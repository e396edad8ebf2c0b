"""Runs a training step without its numbers, so that no machine is needed.

Tensors of floats hold a shape and a type but no values; integers (how long
captions are, which token stands where) are real, since shapes are made of
them. The other processes are pretended: each holds the same as this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, distributed, nn
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparc_vlm.errors import RunError
from sparc_vlm.models import attention, length_parts, pairwise


class AbstractRun:
    """A place where floating-point tensors have no values.

    Modules come from `build`, steps run inside `running`. Everything stands
    on torch's CPU device, which is what lets gradients flow without an
    accelerator.

    Args:
        processes: How many there are, this one included.
        is_accelerator: Takes what accelerators take: the fused attention,
            which keeps no matrix of weights, and their blocks of pairs.
    """

    def __init__(
        self, processes: int = 1, is_accelerator: bool = True
    ) -> None:
        self.processes = processes
        self.is_accelerator = is_accelerator
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def build(self, make: Callable[[], nn.Module]) -> nn.Module:
        """Builds a module whose parameters have no values.

        Args:
            make: Returns the module; weights that it draws are not drawn.
        """

        def replace(
            module: nn.Module, name: str, parameter: nn.Parameter
        ) -> nn.Parameter:
            return nn.Parameter(parameter.to('meta'), parameter.requires_grad)

        handle = register_module_parameter_registration_hook(replace)
        try:
            module = make()
        finally:
            handle.remove()
        with self._mode:
            return module.to_empty(device='cpu')

    @contextmanager
    def running(self) -> Iterator[None]:
        """Steps that run in here compute shapes only.

        Raises:
            RuntimeError: This process already is one of a group.
        """
        with ExitStack() as stack:
            if self.processes > 1:
                stack.enter_context(_pretended_processes(self.processes))
            if self.is_accelerator:
                for module, name, value in (
                    (attention, 'WRITTEN_OUT_UP_TO', 0),
                    (pairwise, 'CPU_BUDGET', pairwise.DEVICE_BUDGET),
                    (length_parts, 'PARTS', 1),
                ):
                    patch = mock.patch.object(module, name, value)
                    stack.enter_context(patch)
            stack.enter_context(self._mode)
            stack.enter_context(_IntegersStayReal())
            yield

    def empty(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """A tensor without values, of whatever type.

        Args:
            *shape: Its shape.
            dtype: Its type.
        """
        with self._mode:
            return torch.empty(shape, dtype=dtype)


aten = torch.ops.aten
_LIFTED = aten.lift_fresh.default
_DRAWN = {aten.rand.default}
"""Random numbers that decide which tokens or patches stay."""


class _IntegersStayReal(TorchDispatchMode):
    """Computes for real what depends on real tensors alone.

    Stands above torch's mode for tensors without values and goes round it
    where no input is one: a real tensor is an integer, was made of some, or
    was drawn to choose some.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [
            leaf
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, Tensor)
        ]
        if any(isinstance(tensor, FakeTensor) for tensor in tensors):
            return func(*args, **kwargs)
        if func in _DRAWN or (tensors and func is not _LIFTED):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        # made of nothing, or a number that becomes a tensor
        made = func(*args, **kwargs)
        if not isinstance(made, Tensor) or made.is_floating_point():
            return made
        with unset_fake_temporarily():
            return func(*args, **kwargs)


@contextmanager
def _pretended_processes(count: int) -> Iterator[None]:
    """Makes this process the first of `count` that say what it says."""
    if distributed.is_initialized():
        raise RunError(
            'the cost of several processes is counted by one: start the tool '
            'without torchrun'
        )
    distributed.init_process_group(
        'fake', rank=0, world_size=count, store=FakeStore()
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()
