"""Parts of a running training as data, for the runner's checkpoints."""

from __future__ import annotations

import difflib
from typing import Any

from mmengine.utils import apply_to

MOST_CHANGES = 10
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
        raise ValueError(
            f'the checkpoint has {len(states)} schedules and the config '
            f'{len(schedulers)}: resume with the same param_scheduler'
        )
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)


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
