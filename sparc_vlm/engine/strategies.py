"""mmengine's strategies inside of a runner that has its own checkpoints.

Only how a strategy wraps the model is taken from it: processes, seeds, logs
and checkpoints are the runner's.
"""

from __future__ import annotations

import copy
import warnings
from functools import partial
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.logging import MMLogger
from torch import nn

from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.engine.optim import AutocastOptimWrapper
from sparc_vlm.engine.sharding import Sharding
from sparc_vlm.engine.strategy_check import NEEDS_OURS, strategy_kind


def shares_out(cfg: dict[str, Any] | None) -> bool:
    """Whether a `strategy`, as it was checked, asks for FSDP."""
    return bool(cfg) and issubclass(strategy_kind(cfg), FSDPStrategy)


def on_cpu() -> bool:
    """Whether models are trained on a CPU here."""
    return torch.device(get_device()).type == 'cpu'


def ddp_options(given: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments of a DDP wrapper; on a CPU it is not told a device.

    Args:
        given: The user's.
    """
    options = {'broadcast_buffers': False, **(given or {})}
    if on_cpu():
        options['device_ids'] = None
    return options


def wrap_ddp(cfg: dict[str, Any], model: nn.Module) -> nn.Module:
    """The model under mmengine's DDPStrategy.

    Args:
        cfg: The strategy.
        model: Bare.
    """
    cfg = copy.deepcopy(dict(cfg))
    cfg['model_wrapper'] = ddp_options(cfg.get('model_wrapper'))
    return _strategy(cfg)._wrap_model(model)


def share_out(runner: Any, cfg: dict[str, Any], model: nn.Module) -> Sharding:
    """The model under mmengine's FSDPStrategy, and its optimizer.

    The optimizer is made first, since learning rates and weight decay go by
    the names and shapes that parameters have as a whole.

    Args:
        runner: The runner; its optimizer wrapper is built here.
        cfg: The strategy, checked by `check_strategy`.
        model: Bare, on its device, with its first weights.

    Raises:
        ConfigError: The optimizer wrapper cannot do with pieces.
    """
    if runner.optim_wrapper is not None:
        wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if not isinstance(wrapper, AutocastOptimWrapper):
            raise ConfigError(NEEDS_OURS)
        runner.optim_wrapper = wrapper
    sharding = Sharding(model, partial(_wrap_fsdp, cfg))
    if runner.optim_wrapper is not None:
        runner.optim_wrapper.share_out(sharding)
    return sharding


def _wrap_fsdp(
    cfg: dict[str, Any], model: nn.Module, left_whole: list[nn.Parameter]
) -> nn.Module:
    cfg = copy.deepcopy(dict(cfg))
    wrapper = dict(cfg.get('model_wrapper') or {})
    wrapper['ignored_states'] = left_whole
    if on_cpu():
        wrapper['device_id'] = torch.device('cpu')
    cfg.update(model_wrapper=wrapper, state_dict_cfg='full')
    with warnings.catch_warnings():
        # mmengine sets the kind of its state dicts in an old way.
        warnings.simplefilter('ignore', FutureWarning)
        return _strategy(cfg)._wrap_model(model)


def _strategy(cfg: dict[str, Any]) -> Any:
    """The strategy, without what it would set up around the model."""

    class Inside(strategy_kind(cfg)):
        def __init__(self, **options: Any) -> None:
            super().__init__(work_dir='', **options)

        def _setup_env(self) -> None:
            self._timestamp = ''

        def build_logger(self) -> MMLogger:
            return MMLogger.get_current_instance()

    return Inside(**{k: v for k, v in cfg.items() if k != 'type'})
