"""Whether the parts of a config fit each other, and its values what they set.

Each may be right by itself: a schedule longer than its run, masks for an
objective that never looks at any.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from sparc_vlm.engine.config_error import ConfigError, nearest
from sparc_vlm.engine.config_types import resolve


def check_fit(content: dict[str, Any]) -> None:
    """Checks a config's parts against each other.

    Args:
        content: The config; each part has passed by itself.

    Raises:
        ConfigError: The first two that do not fit, in one sentence.
    """
    for split in ('val', 'test'):
        _check_split(content, split)
    _check_schedule(content)
    _check_unit(content)
    _check_compile(content)
    _check_masks(content)
    _check_optimizer(content)
    _check_log_level(content)


def _check_schedule(content: dict[str, Any]) -> None:
    """Whether every part of the schedule begins before it ends.

    And whether it does, since a part that is too short does nothing.
    """
    train = content.get('train_cfg') or {}
    steps = train.get('max_iters')
    parts = _schedule(content)
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
        # mmengine counts `end - begin - 1` updates. Two in all are a trial.
        matters = steps is None or steps > max(end, 2)
        if part['type'] == 'LinearLR' and end - begin == 1 and matters:
            raise ConfigError(
                f'param_scheduler.{place}: a LinearLR of one update leaves '
                f'the rate at {part.get("start_factor", 1 / 3):g} of itself '
                'for good: end it an update later, or leave it out'
            )


def _check_split(content: dict[str, Any], split: str) -> None:
    """mmengine takes three fields together, or none of them."""
    fields = [f'{split}_{part}' for part in ('cfg', 'dataloader', 'evaluator')]
    given = [field for field in fields if content.get(field) is not None]
    if given and len(given) < len(fields):
        missing = [field for field in fields if field not in given]
        raise ConfigError(
            f'{" and ".join(given)} without {" and ".join(missing)}: '
            f'{", ".join(fields)} come together, so give them all or set all '
            'to None'
        )


def _check_unit(content: dict[str, Any]) -> None:
    """A schedule of epochs, mmengine's default, would never move."""
    if not _is_ours(content):
        return
    for place, part in enumerate(_schedule(content)):
        # What waits for a metric is asked after each validation.
        waits = 'ReduceOnPlateau' in str(part['type'])
        turned = part.get('convert_to_iter_based')
        if part.get('by_epoch', True) and not waits and not turned:
            raise ConfigError(
                f'param_scheduler.{place}: {part["type"]} counts epochs and '
                'PretrainLoop counts updates: set by_epoch=False, with begin, '
                'end and T_max in updates'
            )


def _schedule(content: dict[str, Any]) -> list[dict[str, Any]]:
    parts = content.get('param_scheduler') or []
    return parts if isinstance(parts, list) else [parts]


def _is_ours(content: dict[str, Any]) -> bool:
    """Whether `PretrainLoop` trains."""
    loop = (content.get('train_cfg') or {}).get('type')
    name = loop if isinstance(loop, str) else getattr(loop, '__name__', '')
    return name.split('.')[-1] == 'PretrainLoop'


def _check_compile(content: dict[str, Any]) -> None:
    """mmengine compiles `train_step`, which our loop does not call."""
    if content.get('compile') and _is_ours(content):
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


def _check_optimizer(content: dict[str, Any]) -> None:
    """Whether torch's own takes its numbers, tried on one parameter."""
    place = 'optim_wrapper.optimizer'
    wrapper = content.get('optim_wrapper')
    given = dict((wrapper or {}).get('optimizer') or {})
    if 'type' not in given:
        return
    kind, _ = resolve(given.pop('type'), place, content.get('default_scope'))
    if not getattr(kind, '__module__', '').startswith('torch.optim.'):
        return
    try:
        kind([torch.nn.Parameter(torch.zeros(1))], **given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{place}: {kind.__name__}: {error}') from None


def _check_log_level(content: dict[str, Any]) -> None:
    level = content.get('log_level', 'INFO')
    if isinstance(level, str) and not isinstance(
        logging.getLevelName(level), int
    ):
        known = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')
        raise ConfigError(
            f'log_level: there is no level {level}' + nearest(level, known)
        )
