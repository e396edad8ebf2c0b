"""Which arguments a registered class takes, `**kwargs` followed upwards."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache


@cache
def arguments(target: Callable) -> dict[str, inspect.Parameter] | None:
    """The arguments that can be given to a class or function by name.

    Where a constructor hands its `**kwargs` to `super().__init__` and does
    nothing else with them, the arguments of the base class count too.

    Args:
        target: A class or function.

    Returns:
        Name to parameter, or None where anything may be given.
    """
    if not inspect.isclass(target):
        return _named(target)
    found: dict[str, inspect.Parameter] = {}
    for base in target.__mro__:
        init = vars(base).get('__init__')
        if init is None:
            continue
        own = _parameters(init)
        if own is None:
            return None
        for parameter in own:
            if parameter.kind in _BY_NAME:
                found.setdefault(parameter.name, parameter)
        rest = [p.name for p in own if p.kind is p.VAR_KEYWORD]
        if not rest:
            return found
        if not _only_passed_up(base, rest[0]):
            return None
    return found


_BY_NAME = (
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def _parameters(function: Callable) -> list[inspect.Parameter] | None:
    """Parameters but for `self`; None where they cannot be known."""
    try:
        return list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return None


def _named(function: Callable) -> dict[str, inspect.Parameter] | None:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return dict(parameters)


def _only_passed_up(owner: type, name: str) -> bool:
    """Whether `**name` goes to `super().__init__` and nowhere else."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner.__init__)))
    except (OSError, TypeError, SyntaxError):
        return False
    uses = sum(
        isinstance(node, ast.Name) and node.id == name
        for node in ast.walk(tree)
    )
    passed = sum(
        keyword.arg is None
        and isinstance(keyword.value, ast.Name)
        and keyword.value.id == name
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and _is_super_init(node.func, owner.__name__)
        for keyword in node.keywords
    )
    return uses == passed == 1


def _is_super_init(function: ast.expr, owner: str) -> bool:
    """`super().__init__`, or the same as it was written in Python 2."""
    return ast.unparse(function) in (
        'super().__init__',
        f'super({owner}, self).__init__',
    )
