"""Parts of a running training as data, for the runner's checkpoints."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from mmengine.utils import apply_to

from sparc_vlm.engine.data_report import joined
from sparc_vlm.errors import UsageError

MOST_CHANGES = 10
OBJECTIVE = 'model.objective.type'
UNTOLD = ('+++', '---', '+resume', '-resume', '+load_from', '-load_from')
"""Beginnings of lines that say nothing about the run."""


def to_cpu(state: Any) -> Any:
    """A nesting of dicts and lists with its tensors on the CPU."""
    return apply_to(state, lambda x: hasattr(x, 'cpu'), lambda x: x.cpu())


def scheduler_states(schedulers: Any) -> Any:
    """The states of a list of schedulers, or of a dict of such lists."""
    if isinstance(schedulers, dict):
        return {name: scheduler_states(s) for name, s in schedulers.items()}
    return [scheduler.state_dict() for scheduler in schedulers]


def restore_schedulers(schedulers: Any, states: Any) -> None:
    """Takes what `scheduler_states` gave.

    Raises:
        ValueError: There are more or fewer schedulers than states.
    """
    if isinstance(schedulers, dict):
        for name, part in schedulers.items():
            restore_schedulers(part, states[name])
        return
    if len(schedulers) != len(states):
        raise UsageError(
            f'the checkpoint has {len(states)} schedules and the config '
            f'{len(schedulers)}: resume with the same param_scheduler'
        )
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)


def learning(cfg: dict[str, Any]) -> dict[str, str]:
    """What of a config comes back from a checkpoint, whatever it says then.

    The optimizer's hyperparameters and the schedule are part of their saved
    states; so is the length of the run, where a schedule ends with it. Which
    objective it was does not come back, and a run that goes on with another,
    whose weights may well fit, is neither of them.

    Args:
        cfg: A config.

    Returns:
        Dotted names of its values, and the values as text.
    """
    found = {
        name: value
        for name, value in _flat(cfg.get('optim_wrapper'), 'optim_wrapper')
        if {'optimizer', 'paramwise_cfg'} & set(name.split('.'))
    }
    objective = (cfg.get('model') or {}).get('objective') or {}
    found.update(_flat(objective.get('type'), OBJECTIVE))
    schedule = cfg.get('param_scheduler')
    found.update(_flat(schedule, 'param_scheduler'))
    if any('end' not in part for part in _parts(schedule)):
        length = cfg.get('train_cfg') or {}
        for name in ('max_iters', 'max_epochs'):
            found.update(_flat(length.get(name), f'train_cfg.{name}'))
    return found


def learning_changes(
    before: dict[str, str], after: dict[str, str]
) -> list[str]:
    """In what two answers of `learning` differ, in words.

    Args:
        before: Of the run; earlier ones did not say which objective it was.
        after: Of the config.
    """
    if OBJECTIVE not in before:
        after = {key: own for key, own in after.items() if key != OBJECTIVE}
    return [
        f'{name}={before.get(name, "nothing")} (the config now says '
        f'{after.get(name, "nothing")})'
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Dotted names and values of a nesting of dicts and lists."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _flat(entry, f'{name}.{key}')
    elif value is not None:
        yield name, repr(value)


def _parts(schedule: Any) -> Iterator[dict[str, Any]]:
    """Every schedule in a list, or in a dict of them by optimizer."""
    if isinstance(schedule, dict) and 'type' in schedule:
        yield schedule
    elif isinstance(schedule, (dict, list, tuple)):
        inner = schedule.values() if isinstance(schedule, dict) else schedule
        for part in inner:
            yield from _parts(part)


def place_for_all(
    places: list[dict[str, Any]], rank: int
) -> dict[str, Any] | None:
    """A training loop's place in the data for another number of processes.

    Args:
        places: What `PretrainLoop.state_dict` gave in each process.
        rank: Number of this process; the first one takes all the counts.

    Returns:
        None if the data were at several places, or at one that only so many
        processes can be at: a loader's state that names its `processes`.
    """
    loaders = [place.get('loaders') for place in places]
    if (
        not places
        or loaders[0] is None
        or loaders != loaders[:1] * len(places)
    ):
        return None
    if any('processes' in state for state in loaders[0]):
        return None
    if rank:
        empty = [{} for _ in places[0]['reports']]
        return {'loaders': loaders[0], 'reports': empty, 'total': {}}
    by_loader = zip(*(place['reports'] for place in places), strict=True)
    return {
        'loaders': loaders[0],
        'reports': [joined(reports).state_dict() for reports in by_loader],
        'total': joined(place['total'] for place in places).state_dict(),
    }


def config_changes(before: str, after: str) -> str:
    """The lines in which two configs differ, a few of them.

    Args:
        before: A config's text.
        after: Another's.

    Returns:
        Lines that begin with '-' or '+', or nothing.
    """
    changes = [
        line
        for line in difflib.unified_diff(
            before.splitlines(), after.splitlines(), lineterm='', n=0
        )
        if line[0] in '+-' and not line.startswith(UNTOLD)
    ]
    more = len(changes) - MOST_CHANGES
    if more > 0:
        changes = [*changes[:MOST_CHANGES], f'and {more} lines more']
    return '\n'.join(changes)
