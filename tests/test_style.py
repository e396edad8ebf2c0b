"""Lint, format, an opening line in each module, and files of one idea."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = sorted(
    path
    for folder in ('sparc_vlm', 'tools', 'benchmarks')
    for path in (ROOT / folder).rglob('*.py')
)
# one idea a file: six files of seven stay below the first number, and all
# below the second, except those named here with the length they may have
USUAL, MOST = 250, 320
LONGER: dict[str, int] = {}


def ruff(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'ruff', *arguments, '.'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize('arguments', [('check',), ('format', '--check')])
def test_ruff(arguments):
    done = ruff(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for path in CODE
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert CODE
    assert silent == []


def test_files_are_short():
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in CODE
    }
    usual = sum(count <= USUAL for count in lines.values())
    assert usual >= 0.85 * len(lines)
    too_long = {
        name: count
        for name, count in lines.items()
        if count > LONGER.get(name, MOST)
    }
    assert too_long == {}
    stale = [name for name in LONGER if lines.get(name, 0) <= MOST]
    assert stale == [], 'short enough now: take them off the list'
