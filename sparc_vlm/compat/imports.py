"""Changing a library at the moment it is imported, and not before.

Importing transformers or mmdet takes seconds, so nothing here imports them:
a finder at the head of `sys.meta_path` waits until somebody else does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

Action = Callable[[ModuleType], None]


class AfterImport(MetaPathFinder):
    """Runs an action on a module as soon as its own code has run.

    Args:
        name: Full name of the module, such as 'transformers.modeling_utils'.
        action: Called once with the module.
    """

    def __init__(self, name: str, action: Action) -> None:
        self.name = name
        self.action = action

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Finds the module as Python would, and appends the action to it."""
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        run_module = spec.loader.exec_module

        def run_module_then_act(module: ModuleType) -> None:
            run_module(module)
            self.action(module)

        spec.loader.exec_module = run_module_then_act
        return spec


def after_import(name: str, action: Action) -> None:
    """Has `action(module)` called when the module is imported.

    At once where it has been imported already; once for each name, however
    often this is called.

    Args:
        name: Full name of the module.
        action: What to do with the module; must be harmless to repeat.
    """
    if name in sys.modules:
        action(sys.modules[name])
    waiting = any(
        isinstance(finder, AfterImport) and finder.name == name
        for finder in sys.meta_path
    )
    if not waiting:
        sys.meta_path.insert(0, AfterImport(name, action))
