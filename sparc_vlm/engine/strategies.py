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
from mmengine._strategy import DDPStrategy, FSDPStrategy
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import STRATEGIES
from torch import nn

from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.engine.optim import AutocastOptimWrapper
from sparc_vlm.engine.sharding import Sharding

UNUSED = {
    'skip_init_weights': 'weights are made before they are shared out',
    'auto_scale_lr': 'the batch is fitted by auto_batch',
    'env_kwargs': 'processes are set up by env_cfg and randomness',
    'log_kwargs': 'the log is set up by default_hooks',
    'work_dir': 'it is a field of the config itself',
    'experiment_name': 'it is a field of the config itself',
}
"""Fields of mmengine's strategies that mean nothing here, and why."""
UNFIT = {
    'ignored_modules': 'their gradients would not be averaged',
    'ignored_parameters': 'their gradients would not be averaged',
    'ignored_states': 'their gradients would not be averaged',
}
"""Likewise, of FSDP."""

SHARED = ('FULL_SHARD', 'SHARD_GRAD_OP')
"""Ways to share out in which each process has a piece of each gradient."""


def shares_out(cfg: dict[str, Any] | None) -> bool:
    """Whether a `strategy` asks for FSDP.

    Raises:
        ConfigError: It is one that cannot be used, or has fields that
            cannot.
    """
    if not cfg:
        return False
    kind = _kind(cfg)
    for name in UNUSED.keys() & cfg.keys():
        raise ConfigError(f'strategy.{name}: leave it out, {UNUSED[name]}')
    if not issubclass(kind, FSDPStrategy):
        return False
    if cfg.get('state_dict_cfg', 'full') != 'full':
        raise ConfigError(
            "strategy.state_dict_cfg must be 'full' or left out: checkpoints "
            'are whole, so that any number of processes can go on with them'
        )
    wrapper = cfg.get('model_wrapper') or {}
    for name in UNFIT.keys() & wrapper.keys():
        raise ConfigError(
            f'strategy.model_wrapper.{name}: leave it out, {UNFIT[name]}'
        )
    kind = wrapper.get('sharding_strategy') or 'FULL_SHARD'
    if kind not in SHARED:
        raise ConfigError(
            'strategy.model_wrapper.sharding_strategy must be one of '
            f'{", ".join(SHARED)}, got {kind}'
        )
    if not wrapper.get('use_orig_params', True):
        raise ConfigError(
            'strategy.model_wrapper.use_orig_params must be True: weight '
            'decay and learning rates go by parameter'
        )
    return True


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
        cfg: The strategy, checked by `shares_out`.
        model: Bare, on its device, with its first weights.

    Raises:
        ConfigError: The optimizer wrapper cannot do with pieces.
    """
    if runner.optim_wrapper is not None:
        wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if not isinstance(wrapper, AutocastOptimWrapper):
            raise ConfigError(
                'optim_wrapper.type: FSDP needs AutocastOptimWrapper, which '
                'knows the norm of gradients that lie in pieces'
            )
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


def _kind(cfg: dict[str, Any]) -> type:
    name = cfg.get('type')
    kind = STRATEGIES.get(name) if isinstance(name, str) else name
    fitting = isinstance(kind, type) and issubclass(kind, DDPStrategy)
    if not fitting:
        raise ConfigError(
            f'strategy.type must be FSDPStrategy or DDPStrategy, got {name}'
        )
    return kind


def _strategy(cfg: dict[str, Any]) -> Any:
    """The strategy, without what it would set up around the model."""

    class Inside(_kind(cfg)):
        def __init__(self, **options: Any) -> None:
            super().__init__(work_dir='', **options)

        def _setup_env(self) -> None:
            self._timestamp = ''

        def build_logger(self) -> MMLogger:
            return MMLogger.get_current_instance()

    return Inside(**{k: v for k, v in cfg.items() if k != 'type'})
