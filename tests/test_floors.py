"""The floors of the house hold: a file imports only from below its own.

Reads the imports of every file without running it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'sparc_vlm'
# what may be imported from each part of the package, besides itself
GROUND = {
    'errors',
    'devices',
    'structures',
    'registry',
    'compat',
    'weights',
    'preprocess',
    'naming',
    'files',
    'feature_maps',
}
ROOMS = {'models', 'datasets', 'evaluation', 'engine'}
THIRD = {
    'hub',
    'recipe',
    'adapters',
    'visualization',
    'cost',
    'features',
    'study',
    'detection',
    'captioning',
    'demo',
}
BELOW = {
    **dict.fromkeys(GROUND, GROUND),
    **dict.fromkeys(ROOMS, GROUND),
    **dict.fromkeys(THIRD, GROUND | ROOMS | THIRD),
}


def part_of(name):
    """'sparc_vlm.models.vision' belongs to 'models'; others to None."""
    first, *rest = name.split('.')
    return rest[0] if first == PACKAGE and rest else None


def imported_modules(path, root):
    """Full names of all that a file imports, relative imports resolved."""
    parts = path.relative_to(root).with_suffix('').parts
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # one dot is the file's own folder, two its parent's, ...
            base = parts[: len(parts) - node.level] if node.level else ()
            module = '.'.join([*base, *filter(None, [node.module])])
            # 'from sparc_vlm import models' imports sparc_vlm.models
            yield from (f'{module}.{alias.name}' for alias in node.names)


def violations(root):
    """One line for each import that breaks the floors.

    A part of the package that the floors do not know is one too.
    """
    found = []
    for path in sorted((root / PACKAGE).rglob('*.py')):
        where = path.relative_to(root)
        mine = part_of('.'.join(where.with_suffix('').parts))
        if mine == '__init__':
            continue  # the package's own front door opens all rooms
        if mine not in BELOW:
            found.append(f'{where}: {mine} stands on no floor')
            continue
        for name in imported_modules(path, root):
            part = part_of(name)
            bad = part is not None and part not in BELOW[mine] | {mine}
            # names of the front door itself, such as __version__, are fine
            bad = (
                bad
                and (root / PACKAGE / part).exists()
                | (root / PACKAGE / f'{part}.py').exists()
            )
            if bad or name.split('.')[0] == 'tools':
                found.append(f'{where} imports {name}')
    return found


def test_the_floors_hold():
    assert violations(ROOT) == []


def test_there_is_a_house():
    there = {p.stem for p in (ROOT / PACKAGE).iterdir()}
    assert there >= ROOMS | {'structures', 'registry', 'compat', 'weights'}


@pytest.mark.parametrize(
    ('file', 'code', 'broken'),
    [
        ('structures.py', 'import torch', False),
        ('structures.py', 'from sparc_vlm.models import vision', True),
        ('registry.py', 'from sparc_vlm import structures', False),
        ('compat/nms.py', 'from sparc_vlm.compat import imports', False),
        ('compat/nms.py', 'from . import imports', False),
        ('compat/nms.py', 'from ..models import vision', True),
        ('models/vision.py', 'import sparc_vlm.structures as s', False),
        ('models/vision.py', 'from sparc_vlm import weights', False),
        ('models/vision.py', 'from sparc_vlm import __version__', False),
        ('models/vision.py', 'from sparc_vlm import datasets', True),
        ('models/vision.py', 'import sparc_vlm.datasets.scenes', True),
        ('models/vision.py', 'from .. import datasets', True),
        ('models/vision.py', 'from ..datasets.scenes import Scenes', True),
        ('models/vision.py', 'def f():\n    import sparc_vlm.hub', True),
        ('models/heads/mlp.py', 'from ..vision import ViT', False),
        ('models/heads/mlp.py', 'from ...engine import loops', True),
        ('engine/loops.py', 'from sparc_vlm.evaluation import Task', True),
        ('hub.py', 'from sparc_vlm import models, engine, weights', False),
        ('hub.py', 'from .visualization import maps', False),
        ('detection/owl.py', 'from sparc_vlm.hub import load', False),
        ('detection/owl.py', 'from tools.train import main', True),
        ('hub.py', 'import tools.train', True),
        ('cellar.py', 'import torch', True),
        ('__init__.py', 'from sparc_vlm import datasets, hub', False),
    ],
)
def test_the_checker_sees(tmp_path, file, code, broken):
    for name in ROOMS | {'compat', 'detection', 'visualization'}:
        (tmp_path / PACKAGE / name).mkdir(parents=True)
    for name in ('structures', 'registry', 'hub', 'weights'):
        (tmp_path / PACKAGE / f'{name}.py').touch()
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    found = violations(tmp_path)
    assert bool(found) == broken, found
    if broken:
        assert found[0].startswith(f'{PACKAGE}/{file}')
