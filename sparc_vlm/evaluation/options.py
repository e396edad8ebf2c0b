"""Options of tasks that are numbers: what they may be, said in a sentence.

Python takes -1 for all but the last and 1.5 for a key; either would change
what is measured, or end in a traceback after minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

from sparc_vlm.errors import UsageError


def check_counts(task: str, **values: int | None) -> None:
    """Refuses what counts nothing.

    Args:
        task: Whose options they are.
        **values: By the option's name; None is left to the task.

    Raises:
        ValueError: One is no whole number from 1.
    """
    for name, value in values.items():
        if value is not None and not _counts(value):
            raise UsageError(
                f'{task}: {name} must be a whole number from 1, not {value!r}'
            )


def positive_ks(ks: Sequence[int] | int, task: str) -> tuple[int, ...]:
    """The k of top-k or R@k; one alone may stand for itself.

    Raises:
        ValueError: There is none, or one that is no whole number from 1.
    """
    ks = (ks,) if isinstance(ks, int) else tuple(ks)
    if not ks or not all(map(_counts, ks)):
        raise UsageError(f'{task}: ks must be whole numbers from 1, not {ks}')
    return ks


def _counts(value: object) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and value >= 1
