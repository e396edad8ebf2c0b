"""Stand-ins appear where something is missing and stand aside elsewhere.

What a stand-in does to a fresh Python is tested in one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from sparc_vlm import compat
from sparc_vlm.compat import imports, transformers_names


def run_python(code, path=(), **environment):
    """Runs code in a Python of its own, with folders put before the rest."""
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join([*map(str, path), *sys.path]),
            **environment,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write_package(folder, **modules):
    folder.mkdir(parents=True)
    for name, code in {'__init__': '', **modules}.items():
        (folder / f'{name}.py').write_text(code)


def test_the_openmmlab_libraries_import():
    for name in ('mmpretrain.models', 'mmdet.models', 'mmdet.apis'):
        assert importlib.import_module(name)
    datasets = importlib.import_module('mmdet.datasets')
    assert datasets.CocoDataset


def test_install_twice_changes_nothing():
    compat.install()
    before = list(sys.meta_path)
    compat.install()
    assert sys.meta_path == before


def test_status_names_each_library():
    status = compat.status()
    assert list(status) == ['mmcv', 'torchvision', 'transformers', 'lvis']
    for said in status.values():
        assert said in ('native', 'absent') or said.startswith('stand-in: ')


def test_status_of_what_is_not_there(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert set(compat.status().values()) == {'absent'}


def test_the_stand_in_is_a_module_like_any_other():
    extension = importlib.import_module('mmcv._ext')
    assert importlib.util.find_spec('mmcv._ext') is extension.__spec__
    assert importlib.reload(extension) is extension
    assert not hasattr(extension, '__path__')


@pytest.mark.skipif(
    compat.status()['mmcv'] == 'native', reason='all ops are there'
)
def test_a_missing_op_fails_by_its_name():
    from mmcv.ops import soft_nms

    with pytest.raises(
        NotImplementedError, match=r"'softnms'.*install mmcv 2\.1"
    ):
        soft_nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


def test_compiled_ops_of_mmcv_come_first(tmp_path):
    write_package(tmp_path / 'mmcv', _ext='def nms(): return "compiled"')
    code = (
        'from sparc_vlm import compat\n'
        'import mmcv._ext\n'
        'print(mmcv._ext.nms(), hasattr(mmcv._ext, "softnms"))\n'
        'from sparc_vlm.compat import mmcv_ops\n'
        'print(mmcv_ops.status())'
    )
    ran = run_python(alone(code), [tmp_path])
    assert ran == 'compiled False\nnative'


def test_ops_of_torchvision_that_load_are_left_alone(tmp_path):
    extension = 'def _has_ops(): return True'
    write_package(tmp_path / 'torchvision', extension=extension)
    code = (
        'import torch, torchvision.extension\n'
        'from sparc_vlm.compat import torchvision_ops\n'
        'print(torchvision_ops.status())\n'
        'print(hasattr(torch.ops.torchvision, "nms"))'
    )
    assert run_python(alone(code), [tmp_path]) == 'native\nFalse'


def test_torchvision_imports_after_a_failed_import():
    """Somebody imported it first, and caught the error."""
    code = (
        'try:\n'
        '    import torchvision\n'
        'except RuntimeError:\n'
        '    pass\n' + alone('import torchvision.transforms.v2\n')
    )
    run_python(code)


def test_names_that_transformers_has_are_its_own(tmp_path):
    names = ' = '.join(transformers_names._MOVED)
    write_package(tmp_path / 'transformers', modeling_utils=f'{names} = 1')
    code = (
        'from transformers.modeling_utils import GenerationMixin\n'
        'from sparc_vlm.compat import transformers_names\n'
        'print(GenerationMixin, transformers_names.status())'
    )
    assert run_python(alone(code), [tmp_path]) == '1 native'


def test_names_that_transformers_moved_are_found():
    import transformers
    from transformers import modeling_utils, pytorch_utils

    assert modeling_utils.GenerationMixin is transformers.GenerationMixin
    assert modeling_utils.PretrainedConfig is transformers.PretrainedConfig
    for name in ('apply_chunking_to_forward', 'prune_linear_layer'):
        assert getattr(modeling_utils, name) is getattr(pytorch_utils, name)
    with pytest.raises(AttributeError, match='no_such_name'):
        _ = modeling_utils.no_such_name


def test_pruneable_heads():
    """4 heads of 2 rows, of which head 1 has gone: rows of 0, 2, 3."""
    heads, rows = transformers_names.find_pruneable_heads_and_indices(
        {1, 2}, 3, 2, {1}
    )
    assert heads == {2}
    assert rows.tolist() == [0, 1, 4, 5]


def test_nothing_heavy_is_imported_for_the_stand_ins():
    code = alone(
        'import sys\n'
        'heavy = {"transformers", "mmdet", "mmpretrain", "torchvision"}\n'
        'print(sorted(heavy & set(sys.modules)))'
    )
    assert run_python(code) == '[]'


def test_an_action_runs_when_its_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / 'waited_for.py').write_text('value = 1')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', list(sys.meta_path))
    seen = []
    for _ in range(2):
        imports.after_import('waited_for', lambda m: seen.append(m.value))
    imports.after_import('never_there', seen.append)
    assert seen == []
    importlib.import_module('waited_for')
    assert seen == [1]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('never_there')


def test_an_action_runs_at_once_on_what_is_imported(monkeypatch):
    monkeypatch.setattr(sys, 'meta_path', list(sys.meta_path))
    monkeypatch.setitem(sys.modules, 'already', ModuleType('already'))
    seen = []
    imports.after_import('already', seen.append)
    assert seen == [sys.modules['already']]


def alone(code):
    """Code that runs with the stand-ins, without the rest of the package."""
    return (
        'import sys, types\n'
        'package = types.ModuleType("sparc_vlm")\n'
        f'package.__path__ = [{os.path.dirname(compat.__path__[0])!r}]\n'
        'sys.modules["sparc_vlm"] = package\n'
        'import sparc_vlm.compat\n'
        'sparc_vlm.compat.install()\n' + code
    )
