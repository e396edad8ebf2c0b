"""Which registry a `type` in a config is looked up in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import mmengine.registry as root
from mmengine.registry import Registry

from sparc_vlm import registry as own
from sparc_vlm.engine.config_error import ConfigError, nearest

REGISTRIES: dict[str, tuple[Registry, ...]] = {
    'model': (own.MODELS,),
    'data_preprocessor': (own.MODELS,),
    'tokenizer': (own.TOKENIZERS,),
    'train_dataloader': (own.LOADERS,),
    'dataset': (own.DATASETS,),
    'source': (own.DATASETS,),
    'sampler': (own.DATA_SAMPLERS,),
    'batch_sampler': (own.DATA_SAMPLERS,),
    'collate_fn': (root.FUNCTIONS,),
    'pipeline': (own.TRANSFORMS,),
    'transform': (own.TRANSFORMS,),
    'transforms': (own.TRANSFORMS,),
    'val_evaluator': (own.TASKS, root.METRICS, root.EVALUATOR),
    'test_evaluator': (own.TASKS, root.METRICS, root.EVALUATOR),
    'train_cfg': (own.LOOPS,),
    'val_cfg': (own.LOOPS,),
    'test_cfg': (own.LOOPS,),
    'optim_wrapper': (own.OPTIM_WRAPPERS,),
    'optimizer': (root.OPTIMIZERS,),
    'param_scheduler': (root.PARAM_SCHEDULERS,),
    'default_hooks': (own.HOOKS,),
    'custom_hooks': (own.HOOKS,),
    'visualizer': (root.VISUALIZERS,),
    'vis_backends': (root.VISBACKENDS,),
    'log_processor': (root.LOG_PROCESSORS,),
    'init_cfg': (root.WEIGHT_INITIALIZERS,),
    'model_wrapper_cfg': (root.MODEL_WRAPPERS,),
}
"""By the key that a dict stands under; what is below it inherits it."""

BESIDE: dict[str, tuple[str, ...]] = {
    'hook': ('priority',),
    'parameter scheduler': ('convert_to_iter_based',),
    'optimizer wrapper': ('optimizer', 'constructor', 'paramwise_cfg'),
    'vis_backend': ('save_dir',),
    'visualizer': ('save_dir', 'name'),
}
"""Keys that mmengine itself takes, by the registry's name."""

OPAQUE = (
    'backend_args',
    'clip_grad',
    'env_cfg',
    'metainfo',
    'override',
    'paramwise_cfg',
)
"""Dicts whose `type`, if any, is not looked up in a registry."""


def typed_dicts(value: Any, place: str = '') -> Iterator[tuple[str, dict]]:
    """All dicts with a `type`, with their dotted places.

    Args:
        value: A config, or part of one.
        place: Its dotted name.
    """
    if isinstance(value, dict):
        if 'type' in value:
            yield place, value
        for key, entry in value.items():
            if key not in OPAQUE:
                below = f'{place}.{key}' if place else str(key)
                yield from typed_dicts(entry, below)
    elif isinstance(value, (list, tuple)):
        for i, entry in enumerate(value):
            yield from typed_dicts(entry, f'{place}.{i}')


def registries_at(place: str) -> tuple[Registry, ...]:
    """The registries that the keys of a dotted place call for."""
    found: tuple[Registry, ...] = ()
    for key in place.split('.'):
        found = REGISTRIES.get(key, found)
    return found


def resolve(
    name: Any, place: str, scope: str | None = None
) -> tuple[Callable | None, tuple[str, ...]]:
    """What a `type` stands for.

    Args:
        name: The value of `type`: a registered name, or a class.
        place: The dotted name of the dict that it stands in.
        scope: The config's default scope, for names without one.

    Returns:
        The class or function, and keys allowed beside its arguments. None
        where it stands under no key that calls for a registry.

    Raises:
        ConfigError: Nothing of that name is registered.
    """
    if not isinstance(name, str):
        return (name if callable(name) else None), ()
    registries = registries_at(place)
    if not registries:
        return None, ()
    # A data sampler inside of a model, say, is in none of them.
    for registry in (*registries, *_all()):
        for full in (name, f'{scope}.{name}') if scope else (name,):
            found = _get(registry, full)
            if found is not None:
                return found, BESIDE.get(registry.name, ())
    known = [key for registry in registries for key in _names(registry)]
    raise ConfigError(
        f'{place}: there is no {registries[0].name} called {name}'
        + nearest(name, known)
    )


def _get(registry: Registry, name: str) -> Callable | None:
    try:
        return registry.get(name)
    except (ImportError, KeyError, AttributeError):
        return None


def _all() -> Iterator[Registry]:
    for module in (own, root):
        for value in vars(module).values():
            if isinstance(value, Registry):
                yield value


def _names(registry: Registry) -> Iterator[str]:
    """Registered names here, and in the parents (classes only)."""
    while registry is not None:
        for key, value in registry.module_dict.items():
            if inspect.isclass(value) or registry.parent is not None:
                yield key
        registry = registry.parent
