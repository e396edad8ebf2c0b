"""The studies of captioners: each stage begins where the one before ended."""

import pytest

from sparc_vlm.engine import load_config
from sparc_vlm.evaluation import POPE, Captioning
from sparc_vlm.registry import DATASETS
from sparc_vlm.study import build_tasks, read_study, tasks_by_arm
from tests.test_datasets.made import write_coco, write_karpathy
from tests.test_study.made import ROOT, leave_models, read_whole

FOLDER = ROOT / 'projects' / 'captioning'
EYES = {
    'scenes': ('CLIP', 'SPARC', 'SPARC+'),
    'photographs': ('CLIP', 'SPARC'),
}
PRETRAINING = {'scenes': 'scenes', 'photographs': 'photographs_frozen'}


@pytest.fixture
def places(request, tmp_path, monkeypatch):
    """Small data, and empty folders of all that is begun with."""
    name = request.param
    (tmp_path / 'flickr').mkdir()
    write_karpathy(tmp_path / 'flickr')
    for split in ('train', 'val'):
        write_coco(tmp_path / 'coco', split=split)
    eyes = EYES[name]
    made = {
        'PRETRAINED': (
            f'pretraining_study/{PRETRAINING[name]}',
            eyes,
            'tokenizer',
        ),
        'STAGE1': (f'captioning/{name}_stage1', ('random', *eyes), 'eyes'),
        'STAGE2': (f'captioning/{name}_stage2', eyes, 'eyes'),
    }
    values = dict(FLICKR8K=tmp_path / 'flickr', COCO=tmp_path / 'coco')
    for variable, (study, arms, inside) in made.items():
        values[variable] = tmp_path / variable
        leave_models(tmp_path / variable, study, arms, inside)
    for variable, value in values.items():
        monkeypatch.setenv(variable, str(value))
    return name, values


def test_every_study_is_here():
    found = {file.stem for file in FOLDER.glob('*.py')}
    stages = {f'{name}_stage{n}' for name in EYES for n in (1, 2)}
    assert found == stages | {'scenes_choice'}


@pytest.mark.parametrize('places', EYES, indirect=True)
@pytest.mark.parametrize('stage', [1, 2])
def test_can_be_begun(places, stage, tmp_path):
    name, values = places
    path = FOLDER / f'{name}_stage{stage}.py'
    study = read_whole(path, tmp_path / 'work')
    assert [arm.name for arm in study.arms] == ['random', *EYES[name]]
    for arm in study.arms:
        assert arm.seeds == (0, 1)
        told = arm.options_at(1)
        own = f'{arm.folder}/seed1/model'
        seed = 1 if name == 'scenes' else 0
        pretrained = f'{values["PRETRAINED"]}/{arm.folder}/seed{seed}/model'
        eyes = told['model.eyes.checkpoint']
        at_random = arm.name == 'random'
        assert eyes == (None if at_random else pretrained)
        start = told.get('model.init_cfg.checkpoint')
        first = f'{values["STAGE1"]}/{own}'
        assert start == (first if stage == 2 else None)
        seen = told.get('model.eyes.vision.init_cfg.checkpoint')
        assert seen == (f'{first}/eyes' if at_random and stage == 2 else None)
    tasks = build_tasks(study.tasks)
    # Asked is who learned answers, and about few pictures.
    loaders = [arm.recipe.train_dataloader for arm in study.arms]
    share = {loader.dataset.get('questions', 0) for loader in loaders}
    popes = [task for task in tasks if isinstance(task, POPE)]
    if stage == 1:
        assert (share, popes) == ({0}, [])
    elif name == 'scenes':
        (pope,) = popes
        assert share == {0.5}
        # Classes are all as common.
        assert pope.kinds == ('random', 'similar')
        assert len(pope.indices) == 100
    else:
        assert share == {0.5}
        assert len(popes) == 1
        assert study.tasks[-1]['max_images'] == 100
    # What was written of the pictures that are shown is known.
    shown = DATASETS.build(dict(study.pictures['dataset']))
    captioned = [t.source for t in tasks if isinstance(t, Captioning)]
    assert shown.key(0) in [source.key(0) for source in captioned]


@pytest.mark.parametrize('places', ['photographs'], indirect=True)
def test_random_eyes_are_built_as_pretrained_ones(places, tmp_path):
    study = read_whole(FOLDER / 'photographs_stage1.py', tmp_path / 'work')
    pretraining = ROOT / 'configs' / 'sparc_efficientlite0_flickr8k.py'
    eyes = study.arms[0].recipe.model.eyes
    assert eyes.vision == load_config(pretraining).model.vision
    assert eyes.image_size == load_config(pretraining).model.vision.img_size


@pytest.mark.parametrize('places', ['scenes'], indirect=True)
def test_choices_are_measured_on_finished_captioners(places, tmp_path):
    _, values = places
    study = read_whole(FOLDER / 'scenes_choice.py', tmp_path / 'work')
    model = f'{values["STAGE2"]}/sparc/seed0/model'
    assert {arm.checkpoint for arm in study.arms} == {model}
    tasks = tasks_by_arm(study)
    assert list(tasks) == ['as it is', 'by likelihood', 'by grounding']
    plain, attribution = tasks['as it is']
    assert (plain.name, attribution.name) == ('captioning', 'attribution')
    assert plain.chooser is None
    for by in ('likelihood', 'grounding'):
        (task,) = tasks[f'by {by}']
        assert task.name == 'captioning'
        assert task.chooser.by == by
        assert len(task.source) == len(plain.source)
    # Colours and places are no nouns of scenes.
    words = 'an orange ring in the right corner of the picture'.split()
    assert task.chooser.find_nouns(words, '') == [2]


@pytest.mark.parametrize('places', ['scenes'], indirect=True)
@pytest.mark.parametrize('stage', [1, 2])
def test_captions_are_shown_while_training(places, stage):
    study = read_study(FOLDER / f'scenes_stage{stage}.py', ROOT)
    for arm in study.arms:
        (hook,) = arm.recipe.custom_hooks
        assert hook.type == 'CaptionSampleHook'
