"""Everything is registered by the import, and mmengine has no complaints."""

from __future__ import annotations

import mmengine.registry as root
import pytest
from mmengine.registry import DefaultScope, Registry

from sparc_vlm import registry as own

NAMES = {
    'MODELS': ['ImageTextPretrainer', 'SparcViT', 'SPARC', 'CLIP'],
    'DATASETS': ['PairDataset', 'Scenes', 'CocoCaptions', 'ClassFolders'],
    'TASKS': ['Retrieval', 'Segmentation'],
    'TOKENIZERS': ['CaptionTokenizer', 'HuggingFaceTokenizer'],
    'LOADERS': ['PairLoader', 'ShardLoader'],
    'LOOPS': ['PretrainLoop', 'TaskLoop'],
    'HOOKS': ['SafeCheckpointHook', 'ExportHook', 'AlignmentMapHook'],
    'RUNNERS': ['SparcRunner'],
    'OPTIM_WRAPPERS': ['AutocastOptimWrapper'],
    'OPTIM_WRAPPER_CONSTRUCTORS': [
        'GroupingConstructor',
        'LayerDecayConstructor',
    ],
}
# made by the runner for every run, whether a project has some or not
BUILT = (
    'LOG_PROCESSORS',
    'MODEL_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'OPTIMIZERS',
    'PARAM_SCHEDULERS',
    'VISBACKENDS',
    'VISUALIZERS',
)


@pytest.mark.parametrize('kind', NAMES)
def test_names_are_registered(kind):
    registry = getattr(own, kind)
    assert registry.scope == 'sparc_vlm'
    for name in NAMES[kind]:
        found = registry.get(name)
        assert found.__module__.startswith('sparc_vlm.')
        assert registry.get(f'sparc_vlm.{name}') is found


@pytest.mark.parametrize('kind', [k for k in NAMES if hasattr(root, k)])
def test_names_are_found_from_any_project(kind):
    parent = getattr(root, kind)
    for name in NAMES[kind]:
        assert parent.get(f'sparc_vlm.{name}') is not None
        assert parent.get(name) is None, 'not in the parent itself'


def test_what_is_not_here_is_looked_up_in_the_parent():
    assert own.HOOKS.get('EMAHook') is root.HOOKS.get('EMAHook')
    assert own.HOOKS.get('NoSuchHook') is None


@pytest.mark.parametrize('kind', BUILT)
def test_no_kind_is_missing_in_the_scope(kind, log):
    parent: Registry = getattr(root, kind)
    with DefaultScope.overwrite_default_scope('sparc_vlm'):
        with parent.switch_scope_and_registry(None) as found:
            assert found.scope == 'sparc_vlm'
            assert found.parent is parent
        with parent.switch_scope_and_registry('no_such_scope'):
            pass
    failed = [line for line in log if 'Failed to search registry' in line]
    assert len(failed) == 1
    assert 'no_such_scope' in failed[0]
