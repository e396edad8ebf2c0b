"""Errors that a user can put right are told from bugs."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from sparc_vlm import errors
from sparc_vlm.engine import CheckpointError, ConfigError, NonFiniteError
from sparc_vlm.errors import RunError, UsageError, UserError, sentence
from sparc_vlm.weights import WeightsError

PACKAGE = Path(errors.__file__).parent
SAID = ('ValueError', 'RuntimeError', 'FileNotFoundError', 'ImportError')


@pytest.mark.parametrize(
    ('kind', 'also'),
    [
        (UsageError, ValueError),
        (errors.MissingFileError, FileNotFoundError),
        (errors.MissingPackageError, ImportError),
        (errors.UnsupportedError, NotImplementedError),
        (RunError, RuntimeError),
        (ConfigError, ValueError),
        (CheckpointError, RuntimeError),
        (NonFiniteError, RuntimeError),
        (WeightsError, ValueError),
    ],
)
def test_each_is_what_programs_expect_too(kind, also):
    assert issubclass(kind, UserError)
    assert issubclass(kind, also)
    assert sentence(kind('choose: 1 or 2')) == 'choose: 1 or 2'


class Fails:
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize(
    'error',
    [RunError('x.jpg: nothing\nUsageError: fits'), ConfigError('a: b')],
)
def test_what_a_worker_said_is_found(error, workers):
    with pytest.raises(UserError) as caught:
        next(iter(DataLoader(Fails(error), num_workers=workers)))
    assert type(caught.value) is type(error)
    assert sentence(caught.value) == str(error)


def test_other_peoples_errors_are_none():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2) @ torch.ones(3)
    assert not isinstance(caught.value, UserError)


@pytest.mark.parametrize(
    'path',
    sorted(PACKAGE.rglob('*.py')),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_the_package_raises_what_tools_can_tell_from_bugs(path):
    """A plain ValueError would come with a traceback."""
    raised = [
        node.exc.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    ]
    assert [name for name in raised if name in SAID] == []
    assert all(hasattr(builtins, name) for name in SAID)
