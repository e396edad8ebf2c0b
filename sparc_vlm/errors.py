"""Errors that a user can put right, so that tools can tell them from bugs.

Each says in one sentence what to do, which is all that a tool prints of it.
Any other error is nobody's intention, and keeps its traceback.
"""

from __future__ import annotations

import re


class UserError(Exception):
    """What was given cannot be used, or something that is needed is not there.

    Mixed into the built-in class that fits, so that programs catch it as
    that.
    """


class UsageError(UserError, ValueError):
    """An argument, an option, or what a file holds, cannot be used."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that was named is not there."""


class MissingPackageError(UserError, ImportError):
    """Something asked for needs a package that is not installed."""


class RunError(UserError, RuntimeError):
    """What was begun cannot go on."""


class UnsupportedError(UserError, NotImplementedError):
    """This machine or this set of packages cannot do it."""


def sentence(error: UserError) -> str:
    """What an error says, also one that a data worker handed on.

    Args:
        error: torch raises a worker's error again as the same class, with
            the worker's traceback as its text.
    """
    text = str(error)
    if not re.match(r'Caught \w+ in DataLoader worker', text):
        return text
    name = type(error).__name__
    _, *found = re.split(rf'^(?:\w+\.)*{name}: ', text, flags=re.MULTILINE)
    return found[-1].strip() if found else text
