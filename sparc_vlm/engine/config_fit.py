"""Whether the parts of a config fit each other.

Each may be right by itself: a schedule longer than its run, masks for an
objective that never looks at any.
"""

from __future__ import annotations

from typing import Any

from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.engine.config_types import resolve


def check_fit(content: dict[str, Any]) -> None:
    """Checks a config's parts against each other.

    Args:
        content: The config; each part has passed by itself.

    Raises:
        ConfigError: The first two that do not fit, in one sentence.
    """
    _check_schedule(content)
    _check_compile(content)
    _check_masks(content)


def _check_schedule(content: dict[str, Any]) -> None:
    """Whether every part of the schedule begins before it ends."""
    train = content.get('train_cfg') or {}
    steps = train.get('max_iters')
    parts = content.get('param_scheduler') or []
    parts = parts if isinstance(parts, list) else [parts]
    for place, part in enumerate(parts):
        end = part.get('end', steps)
        if part.get('by_epoch', True) or end is None:
            continue
        begin = part.get('begin', 0)
        if begin >= end:
            shorter = [
                f'param_scheduler.{number}.{key}=N'
                for number, other in enumerate(parts[: place + 1])
                for key in ('begin', 'end')
                if other.get(key) == begin
            ]
            raise ConfigError(
                f'param_scheduler: {part["type"]} begins at {begin} and the '
                f'run ends at {end}: shorten the warm-up before it too, '
                f'{" ".join(shorter)} with N below {end}, or train longer'
            )


def _check_compile(content: dict[str, Any]) -> None:
    """mmengine compiles `train_step`, which our loop does not call."""
    loop = (content.get('train_cfg') or {}).get('type')
    name = loop if isinstance(loop, str) else getattr(loop, '__name__', '')
    if content.get('compile') and name.split('.')[-1] == 'PretrainLoop':
        raise ConfigError(
            'compile: PretrainLoop trains without torch.compile, so remove '
            'the field'
        )


def _check_masks(content: dict[str, Any]) -> None:
    """Masks that nobody looks at would be made, and make no difference."""
    place = 'model.objective'
    objective = (content.get('model') or {}).get('objective') or {}
    if 'type' not in objective:
        return
    kind, _ = resolve(objective['type'], place, content.get('default_scope'))
    if getattr(kind, 'takes_masks', True):
        return
    loaders = content.get('train_dataloader')
    for loader in loaders if isinstance(loaders, list) else [loaders]:
        masks = ((loader or {}).get('dataset') or {}).get('patch_masks')
        if masks is not None:
            raise ConfigError(
                f'train_dataloader.dataset.patch_masks={masks!r}: '
                f'{kind.__name__} takes no masks, so leave it out, or train '
                'SPARC or MGCA, which do'
            )
