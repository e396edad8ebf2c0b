"""Which registry a `type` in a config is looked up in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import mmengine.registry as root
from mmengine.registry import Registry

from sparc_vlm import registry as own
from sparc_vlm.engine.config_error import ConfigError, nearest

TOP: dict[str, tuple[Registry, ...]] = {
    'model': (own.MODELS,),
    'tokenizer': (own.TOKENIZERS,),
    'train_dataloader': (own.LOADERS,),
    'val_evaluator': (own.TASKS, root.METRICS, root.EVALUATOR),
    'test_evaluator': (own.TASKS, root.METRICS, root.EVALUATOR),
    'train_cfg': (own.LOOPS,),
    'val_cfg': (own.LOOPS,),
    'test_cfg': (own.LOOPS,),
    'optim_wrapper': (own.OPTIM_WRAPPERS,),
    'param_scheduler': (root.PARAM_SCHEDULERS,),
    'default_hooks': (own.HOOKS,),
    'custom_hooks': (own.HOOKS,),
    'visualizer': (root.VISUALIZERS,),
    'vis_backends': (root.VISBACKENDS,),
    'log_processor': (root.LOG_PROCESSORS,),
    'model_wrapper_cfg': (root.MODEL_WRAPPERS,),
    'strategy': (root.STRATEGIES,),
}
"""By the field of the config; what is below it inherits it."""

BELOW: dict[str, tuple[Registry, ...]] = {
    'auto_wrap_policy': (root.FUNCTIONS,),
    'batch_sampler': (own.DATA_SAMPLERS,),
    'collate_fn': (root.FUNCTIONS,),
    'check_fn': (root.FUNCTIONS,),
    'data_preprocessor': (own.MODELS,),
    'dataset': (own.DATASETS,),
    'init_cfg': (root.WEIGHT_INITIALIZERS,),
    'model_wrapper': (root.MODEL_WRAPPERS,),
    'optimizer': (root.OPTIMIZERS,),
    'pipeline': (own.TRANSFORMS,),
    'sampler': (own.DATA_SAMPLERS,),
    'source': (own.DATASETS,),
    'tokenizer': (own.TOKENIZERS,),
    'transform': (own.TRANSFORMS,),
    'transforms': (own.TRANSFORMS,),
    'vis_backends': (root.VISBACKENDS,),
}
"""By a key further down."""

LOOSE = ('custom_hooks', 'default_hooks', 'vis_backends', 'visualizer')
"""Fields whose objects may take dicts of their own making, with a `type` that
no registry knows: in them a key stands for one where `BELOW` says so."""

BESIDE: dict[str, tuple[str, ...]] = {
    'hook': ('priority',),
    'parameter scheduler': ('convert_to_iter_based',),
    'optimizer wrapper': ('optimizer', 'constructor', 'paramwise_cfg'),
    'vis_backend': ('save_dir',),
    'visualizer': ('save_dir', 'name'),
}
"""Keys that mmengine itself takes, by the registry's name."""

OPAQUE = (
    'act_cfg',
    'backend_args',
    'clip_grad',
    'conv_cfg',
    'dcn',
    'env_cfg',
    'metainfo',
    'nms',
    'norm_cfg',
    'override',
    'paramwise_cfg',
    'roi_layer',
)
"""Dicts that are not handed on as they stand, by OpenMMLab's conventions."""


def typed_dicts(
    value: Any, place: str = '', owner: str = ''
) -> Iterator[tuple[str, dict, str]]:
    """All dicts with a `type`, outer ones first.

    Args:
        value: A config, or part of one.
        place: Its dotted name.
        owner: Dotted name of the dict with a `type` around it, if any.

    Yields:
        Dotted name, dict, and dotted name of its owner ('' for none).
    """
    if isinstance(value, dict):
        if 'type' in value and place:
            yield place, value, owner
            owner = place
        for key, entry in value.items():
            if key not in OPAQUE:
                below = f'{place}.{key}' if place else str(key)
                yield from typed_dicts(entry, below, owner)
    elif isinstance(value, (list, tuple)):
        for i, entry in enumerate(value):
            yield from typed_dicts(entry, f'{place}.{i}', owner)


def registries_at(place: str) -> tuple[Registry, ...]:
    """The registries that the keys of a dotted place call for."""
    field, *keys = place.split('.')
    found = TOP.get(field, ())
    for depth, key in enumerate(keys):
        # The first one names a hook.
        named = key.isdigit() or (field == 'default_hooks' and depth == 0)
        found = BELOW.get(key, () if field in LOOSE and not named else found)
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
        for full in (f'{scope}.{name}', name) if scope else (name,):
            found = _get(registry, full)
            if found is not None:
                return found, BESIDE.get(registry.name, ())
    known = [key for r in registries for key in _names(r, scope)]
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


def _names(registry: Registry, scope: str | None) -> Iterator[str]:
    """Registered classes: here, in the parents, and in a scope's own."""
    lineage = [registry]
    while lineage[-1].parent is not None:
        lineage.append(lineage[-1].parent)
    foreign = lineage[-1].children.get(scope)
    for one in {id(r): r for r in (*lineage, foreign) if r}.values():
        for key, value in one.module_dict.items():
            if inspect.isclass(value):
                yield key
