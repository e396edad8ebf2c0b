"""What of mmengine's strategies can be used, said before any data are read.

Much of a strategy is for mmengine's other runner; a field that would be left
unread is refused, and so is one that the way to wrap the model would trip
over after long work.
"""

from __future__ import annotations

import inspect
from typing import Any

from mmengine._strategy import DDPStrategy, FSDPStrategy
from mmengine.model import (
    MMDistributedDataParallel,
    MMFullyShardedDataParallel,
)
from mmengine.registry import MODEL_WRAPPERS, STRATEGIES
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

from sparc_vlm.engine.config_error import ConfigError, nearest
from sparc_vlm.engine.config_types import resolve
from sparc_vlm.engine.optim import AutocastOptimWrapper

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
BESIDE = {
    'model_wrapper_cfg': 'leave it out, or name it strategy.model_wrapper',
    'find_unused_parameters': 'put it into strategy.model_wrapper',
    'sync_bn': 'put it into strategy, which must be DDPStrategy',
}
"""Fields of the config that nobody reads where there is a strategy."""
NEEDS_OURS = (
    'optim_wrapper.type: FSDP needs AutocastOptimWrapper, which knows the '
    'norm of gradients that lie in pieces'
)
SHARED = ('FULL_SHARD', 'SHARD_GRAD_OP')
"""Ways to share out in which each process has a piece of each gradient."""
WRAPPERS = {
    True: (MMFullyShardedDataParallel, FullyShardedDataParallel),
    False: (MMDistributedDataParallel, DistributedDataParallel),
}
"""The usual wrapper, and what each must be: under FSDP, and under DDP."""
PREFETCH = ('BACKWARD_PRE', 'BACKWARD_POST')


def check_strategy(content: dict[str, Any]) -> None:
    """Refuses a strategy, or a field beside it, that cannot be used.

    Args:
        content: A config.

    Raises:
        ConfigError: What cannot be used, in one sentence.
    """
    strategy = content.get('strategy')
    if not strategy:
        return
    kind = strategy_kind(strategy)
    for name, advice in BESIDE.items():
        if content.get(name):
            raise ConfigError(
                f'{name}: a config with a strategy does not read it, so '
                f'{advice}'
            )
    for name in UNUSED.keys() & strategy.keys():
        raise ConfigError(f'strategy.{name}: leave it out, {UNUSED[name]}')
    shares_out = issubclass(kind, FSDPStrategy)
    wrapper = strategy.get('model_wrapper') or {}
    _check_wrapper(wrapper, *WRAPPERS[shares_out])
    if shares_out:
        _check_sharding(strategy, wrapper)
        _check_optimizer(content)


def strategy_kind(strategy: dict[str, Any]) -> type:
    """The class of a `strategy`.

    Raises:
        ConfigError: It is one that cannot be used.
    """
    name = strategy.get('type')
    kind = STRATEGIES.get(name) if isinstance(name, str) else name
    fitting = isinstance(kind, type) and issubclass(kind, DDPStrategy)
    if not fitting:
        raise ConfigError(
            f'strategy.type must be FSDPStrategy or DDPStrategy, got {name}'
        )
    return kind


def _check_wrapper(wrapper: dict[str, Any], usual: type, base: type) -> None:
    """Whether the class that wraps the model takes what it is given."""
    name = wrapper.get('type', usual)
    kind = MODEL_WRAPPERS.get(name) if isinstance(name, str) else name
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ConfigError(
            f'strategy.model_wrapper.type must be {usual.__name__} or '
            f'another {base.__name__}, got {name}'
        )
    taken = {
        parameter
        for base in kind.__mro__
        if '__init__' in vars(base)
        for parameter in inspect.signature(base.__init__).parameters
    } - {'self', 'module', 'args', 'kwargs'}
    for key in wrapper:
        if key != 'type' and key not in taken:
            raise ConfigError(
                f'strategy.model_wrapper: {kind.__name__} takes no {key}'
                + nearest(key, taken)
            )


def _check_sharding(strategy: dict[str, Any], wrapper: dict[str, Any]) -> None:
    """The options of FSDP."""
    if strategy.get('sync_bn'):
        raise ConfigError(
            'strategy.sync_bn: FSDPStrategy does not read it, so leave it '
            'out, or take DDPStrategy'
        )
    if strategy.get('state_dict_cfg', 'full') != 'full':
        raise ConfigError(
            "strategy.state_dict_cfg must be 'full' or left out: checkpoints "
            'are whole, so that any number of processes can go on with them'
        )
    for name in UNFIT.keys() & wrapper.keys():
        raise ConfigError(
            f'strategy.model_wrapper.{name}: leave it out, {UNFIT[name]}'
        )
    for name, known, usual in (
        ('sharding_strategy', SHARED, 'FULL_SHARD'),
        ('backward_prefetch', PREFETCH, 'BACKWARD_PRE'),
    ):
        given = wrapper.get(name) or usual
        if getattr(given, 'name', given) not in known:
            raise ConfigError(
                f'strategy.model_wrapper.{name} must be one of '
                f'{", ".join(known)}, got {given}'
            )
    if not wrapper.get('use_orig_params', True):
        raise ConfigError(
            'strategy.model_wrapper.use_orig_params must be True: weight '
            'decay and learning rates go by parameter'
        )


def _check_optimizer(content: dict[str, Any]) -> None:
    """Whether the optimizer wrapper can do with pieces."""
    wrapper = content.get('optim_wrapper')
    if not isinstance(wrapper, dict):
        return
    kind, _ = resolve(
        wrapper.get('type', 'OptimWrapper'),
        'optim_wrapper',
        content.get('default_scope'),
    )
    if not issubclass(kind, AutocastOptimWrapper):
        raise ConfigError(NEEDS_OURS)
    if wrapper.get('dtype') == 'float16':
        raise ConfigError(
            "optim_wrapper.dtype: FSDP needs 'bfloat16' or None, since the "
            'loss scale of float16 would differ between processes'
        )
