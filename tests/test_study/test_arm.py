import json
import zipfile

import pytest
from mmengine.config import Config

from sparc_vlm.engine import ConfigError, load_config
from sparc_vlm.engine.config_fit import check_fit
from sparc_vlm.errors import RunError
from sparc_vlm.files import write_json
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


@pytest.mark.parametrize(
    ('stage', 'warm_up'), [(1, 2), (2, 2), (None, 2)], ids=str
)
def test_a_captioners_recipe_is_shortened(stage, warm_up):
    name = f'smollm2_vitmini_scenes_stage{stage}'
    if stage is None:
        name = 'qwen7b_vitb16_llava_stage1'
    folder = ROOT / 'projects' / 'captioning' / 'configs'
    config = load_config(folder / f'{name}.py')
    steps = 20 if stage else 80
    options = shortened(config, steps)
    assert options == {
        'train_cfg.max_iters': steps,
        'param_scheduler.0.end': warm_up,
        'param_scheduler.1.begin': warm_up,
    }
    # The cosine has no end of its own: it goes to that of the training.
    config.merge_from_dict(options)
    check_fit(config.to_dict())


def test_the_shortest_warm_up_ends():
    config = Config.fromfile(RECIPE)
    for steps, end in ((2, 1), (3, 2), (30, 3)):
        assert shortened(config, steps)['param_scheduler.0.end'] == end


def test_validation_that_begins_late_does_so_in_proportion():
    config = Config(dict(train_cfg=dict(max_iters=100, val_begin=50)))
    assert shortened(config, 20)['train_cfg.val_begin'] == 10


def test_a_recipe_that_counts_otherwise_is_not_shortened():
    with pytest.raises(ConfigError, match='leave steps out'):
        shortened(Config(dict(train_cfg=dict(max_epochs=3))), 20)


def test_nested_options_become_dotted():
    nested = {'a': {'b': {'c': 1}, 'd': {}}, 'e.f': [2]}
    assert flatten(nested) == {'a.b.c': 1, 'a.d': {}, 'e.f': [2]}


def test_what_stands_there_is_set_aside_never_lost(tmp_path):
    for number in (1, 2):
        (tmp_path / 'run').mkdir()
        assert set_aside(tmp_path / 'run').name == f'run-earlier-{number}'


def test_seconds_of_what_is_lost_are_not_counted(tmp_path):
    """A checkpoint is gone on with; without one a training begins anew."""

    def launch(command, place):
        arm.model.mkdir(parents=True)
        return 0

    arm = Arm('a', RECIPE, tmp_path / 'run', ROOT, launch=launch)
    arm.say = lambda line: None
    arm.train()
    for has_checkpoint in (False, True):
        arm.model.rmdir()
        note = json.loads((arm.folder / arm.record).read_text())
        write_json(arm.folder / arm.record, {**note, 'seconds': 1000})
        if has_checkpoint:
            with zipfile.ZipFile(arm.folder / 'iter_2.pth', 'w') as file:
                file.writestr('data', '')
        assert (arm.train() >= 1000) == has_checkpoint


@pytest.mark.parametrize(
    ('code', 'said'), [(3, 'code 3'), (0, 'left no model')]
)
def test_a_failed_training_is_an_error_that_tools_know(tmp_path, code, said):
    arm = Arm('a', RECIPE, tmp_path / 'run', ROOT, launch=lambda *_: code)
    with pytest.raises(RunError, match=said):
        arm.train()
    assert arm.seconds() is None
