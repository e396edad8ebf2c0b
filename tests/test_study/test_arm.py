import pytest
from mmengine.config import Config

from sparc_vlm.errors import RunError
from sparc_vlm.study import Arm, set_aside, shortened
from sparc_vlm.study.arm import flatten
from tests.test_study.made import ROOT

RECIPE = ROOT / 'configs' / 'clip_vittiny_scenes.py'


def test_a_recipe_is_shortened_with_its_schedule():
    assert shortened(Config.fromfile(RECIPE), 90) == {
        'train_cfg.max_iters': 90,
        'train_cfg.val_interval': 30,
        'param_scheduler.0.end': 9,
        'param_scheduler.1.begin': 9,
    }


def test_nested_options_become_dotted():
    nested = {'a': {'b': {'c': 1}, 'd': {}}, 'e.f': [2]}
    assert flatten(nested) == {'a.b.c': 1, 'a.d': {}, 'e.f': [2]}


def test_what_stands_there_is_set_aside_never_lost(tmp_path):
    for number in (1, 2):
        (tmp_path / 'run').mkdir()
        assert set_aside(tmp_path / 'run').name == f'run-earlier-{number}'


@pytest.mark.parametrize(
    ('code', 'said'), [(3, 'code 3'), (0, 'left no model')]
)
def test_a_failed_training_is_an_error_that_tools_know(tmp_path, code, said):
    arm = Arm('a', RECIPE, tmp_path / 'run', ROOT, launch=lambda *_: code)
    with pytest.raises(RunError, match=said):
        arm.train()
    assert arm.seconds() is None
