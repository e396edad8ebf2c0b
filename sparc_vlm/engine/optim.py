"""The optimizer wrapper: mixed precision, clipping, and steps worth taking.

mmengine's own mixed precision asks for a GPU; this one autocasts on a CPU
too, knows the gradient norm of every step, and leaves out a step whose loss
or gradient is not finite.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmengine import dist
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from sparc_vlm.engine.sharding import Sharding
from sparc_vlm.errors import UsageError, UserError
from sparc_vlm.registry import OPTIM_WRAPPERS

DTYPES = ('bfloat16', 'float16')


class NonFiniteError(UserError, RuntimeError):
    """Too many steps in a row had a loss or gradient that is not finite."""


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Autocast on CPU or GPU, gradient norm, and no step on NaN or infinity.

    A step whose loss or gradient norm is not finite, in any process, is left
    out in every process: parameters and optimizer state stay as they were.
    It still counts as an iteration, so the schedule does not shift. The norm
    is that of the whole gradient, also where each process has a piece of it
    (FSDP, see `share_out`).

    Args:
        optimizer: The optimizer to wrap.
        dtype: 'bfloat16', 'float16' (GPU only, with loss scaling) or None for
            full precision.
        max_skipped_in_a_row: Steps left out one after the other before the
            run stops.
        accumulative_counts: As mmengine's `OptimWrapper`.
        clip_grad: As mmengine's `OptimWrapper`: dict(max_norm=...), or
            dict(type='value', clip_value=...).

    Raises:
        ValueError: An unknown dtype, or float16 on a CPU.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        dtype: str | None = None,
        max_skipped_in_a_row: int = 20,
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad)
        if dtype not in (*DTYPES, None):
            raise UsageError(
                f'dtype must be one of {", ".join(DTYPES)} or None, '
                f'got {dtype!r}'
            )
        self.device = optimizer.param_groups[0]['params'][0].device
        if dtype == 'float16' and self.device.type == 'cpu':
            raise UsageError("float16 needs a GPU; use dtype='bfloat16'")
        self.dtype = getattr(torch, dtype) if dtype else None
        self.scaler = None
        if dtype == 'float16':
            self.scaler = torch.amp.GradScaler(self.device.type)
        self.max_skipped_in_a_row = max_skipped_in_a_row
        self.sharding: Sharding | None = None
        self.skipped = 0
        self.skipped_in_a_row = 0
        self._losses: list[Tensor] = []

    @property
    def last_step_skipped(self) -> bool:
        """Whether the latest step was left out."""
        return self.skipped_in_a_row > 0

    def share_out(self, sharding: Sharding) -> None:
        """Goes on with parameters of which each process has a piece.

        Args:
            sharding: How they are shared out.

        Raises:
            ValueError: The loss is scaled; processes would scale it apart.
        """
        if self.scaler is not None:
            raise UsageError(
                "optim_wrapper.dtype: FSDP needs 'bfloat16' or None, since "
                'the loss scale of float16 would differ between processes'
            )
        self.sharding = sharding

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and no gradient exchange before the last of a count."""
        with super().optim_context(model), autocast(self.device, self.dtype):
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Adds the gradient of a loss; call it as often as need be.

        Args:
            loss: Scalar; it is not divided by anything here.
            **kwargs: As `Tensor.backward`.
        """
        self._losses.append(loss.detach())
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        super().backward(loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Updates the parameters if loss and gradient are finite.

        Args:
            **kwargs: As the optimizer's `step`.

        Raises:
            NonFiniteError: `max_skipped_in_a_row` steps were left out one
                after the other.
        """
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.sharding is not None:
            self.sharding.average_scalars()
        parameters = [
            parameter
            for group in self.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        norm = self._norm(parameters)
        length, loss, finite = self._look(norm)
        if finite:
            self._clip(parameters, norm)
            self._update(**kwargs)
            self.skipped_in_a_row = 0
            self.message_hub.update_scalar('train/grad_norm', length)
        else:
            self._skip(loss, length)
        if self.scaler is not None:
            self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Optimizer, loss scale and counts of steps left out.

        Whole also where parameters are shared out; all processes must call
        it then, and the first one has it all.
        """
        state = super().state_dict()
        if self.sharding is not None:
            state.update(self.sharding.optimizer_state(self.optimizer))
        state['skipped'] = [self.skipped, self.skipped_in_a_row]
        if self.scaler is not None:
            state['loss_scaler'] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` gave, or any mmengine wrapper's state."""
        state = dict(state_dict)
        self.skipped, self.skipped_in_a_row = state.pop('skipped', [0, 0])
        scale = state.pop('loss_scaler', None)
        if self.scaler is not None and scale:
            self.scaler.load_state_dict(scale)
        if self.sharding is None:
            super().load_state_dict(state)
            return
        base = state.pop('base_param_settings', None)
        self.base_param_settings = base or self.base_param_settings
        self.sharding.load_optimizer(self.optimizer, state)

    def _norm(self, parameters: list[nn.Parameter]) -> Tensor:
        order = float((self.clip_grad_kwargs or {}).get('norm_type', 2.0))
        if self.sharding is not None:
            return self.sharding.norm(parameters, order)
        gradients = [parameter.grad for parameter in parameters]
        return get_total_norm(gradients, order).to(self.device)

    def _look(self, norm: Tensor) -> tuple[float, float, bool]:
        """Norm and loss as numbers, and whether the step may be taken.

        The device is waited for once, for all three.
        """
        losses = [loss.to(norm) for loss in self._losses]
        self._losses.clear()
        loss = sum(losses, torch.zeros_like(norm))
        finite = (norm.isfinite() & loss.isfinite()).to(norm)
        dist.all_reduce(finite, op='min')
        length, value, flag = torch.stack([norm, loss, finite]).tolist()
        return length, value, bool(flag)

    def _clip(self, parameters: list[nn.Parameter], norm: Tensor) -> None:
        if not self.clip_grad_kwargs:
            return
        if self.grad_name == 'grad_norm':
            most = self.clip_grad_kwargs['max_norm']
            clip_grads_with_norm_(parameters, most, norm)
        else:
            self.clip_func(parameters, **self.clip_grad_kwargs)

    def _update(self, **kwargs: Any) -> None:
        if self.scaler is not None:
            self.scaler.step(self.optimizer, **kwargs)
        else:
            self.optimizer.step(**kwargs)

    def _skip(self, loss: float, norm: float) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        self.message_hub.update_info('skipped_steps', self.skipped)
        self.message_hub.update_scalar('train/skipped_steps', self.skipped)
        cause = f'loss {loss}, gradient norm {norm}'
        if math.isfinite(loss) and math.isfinite(norm):
            cause = 'in another process'
        print_log(
            f'step left out, its loss or gradient is not finite ({cause}); '
            f'{self.skipped} so far',
            logger='current',
            level=logging.WARNING,
        )
        if self.skipped_in_a_row >= self.max_skipped_in_a_row:
            last = self.message_hub.get_info('last_ckpt', 'none was written')
            raise NonFiniteError(
                f'{self.skipped_in_a_row} steps in a row had a loss or a '
                f'gradient that is not finite ({cause}), so the run stops; '
                f'last good checkpoint: {last}; resume it with '
                'optim_wrapper.dtype=None, or start a new run with it as '
                'load_from and a lower learning rate'
            )


def autocast(device: torch.device, dtype: torch.dtype | None) -> Any:
    """The autocast context of a device, or none for full precision."""
    if dtype is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
