"""The studies on photographs: data from the environment, arms alike."""

import pytest
import torch

from sparc_vlm.engine import ConfigError, load_config
from sparc_vlm.errors import UserError
from sparc_vlm.registry import MODELS
from sparc_vlm.study import build_tasks
from tests.test_datasets.entities import entity_row, write_entity_lines
from tests.test_datasets.made import write_coco, write_karpathy
from tests.test_study.made import ROOT, read_whole

FOLDER = ROOT / 'projects' / 'pretraining_study'
VARIABLES = ('FLICKR8K', 'COCO', 'ENTITIES', 'COCO_MASKS')
STUDIES = {
    'photographs': ('CLIP', 'SPARC'),
    'photographs_frozen': ('CLIP', 'SPARC', 'SPARC+'),
    'photographs_others': (),
}
"""And the arms that have three seeds."""


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Small data in the official layouts, named by the environment."""
    for name in ('flickr', 'phrases'):
        (tmp_path / name).mkdir()
    write_karpathy(tmp_path / 'flickr')
    for split in ('train', 'val', 'some'):
        write_coco(tmp_path / 'coco', split=split)
    phrases = write_entity_lines(tmp_path / 'phrases', entity_row())
    values = tmp_path / 'flickr', tmp_path / 'coco', phrases
    values += (f'{tmp_path / "coco"},split=some',)
    for name, value in zip(VARIABLES, values, strict=True):
        monkeypatch.setenv(name, str(value))
    return tmp_path


def read(name):
    path = FOLDER / f'{name}.py'
    return read_whole(path, ROOT / 'nowhere')


@pytest.mark.parametrize('name', STUDIES)
def test_can_be_begun(name, data):
    study = read(name)
    tasks = build_tasks(study.tasks)
    assert [task.name for task in tasks] == [
        'retrieval_flickr8k',
        'retrieval_coco',
        'k_precision_flickr8k',
        'k_precision_coco',
        'grounding_entities',
        'segmentation_coco',
    ]
    assert tasks[0].source.key(0) == '2.png'  # of the val split
    masks = f'{data}/coco/annotations/instances_some.json'
    assert study.tasks[-1]['dataset']['annotations'] == masks
    assert study.pictures['dataset'] == study.tasks[0]['dataset']
    assert {a.name: a.seeds for a in study.arms if len(a.seeds) > 1} == {
        arm: (0, 1, 2) for arm in STUDIES[name]
    }


@pytest.mark.parametrize('name', STUDIES)
def test_arms_are_alike(name, data):
    """The same data, encoders, steps; the objective alone is another."""
    study = read(name)
    both = ('--data', f'karpathy:{data}/flickr', '--data', f'coco:{data}/coco')
    recipes = []
    for arm in study.arms:
        assert arm.flags == both
        cfg = arm.recipe
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        objective = cfg.model.pop('objective')
        assert type(model.objective).__name__ == objective.type
        # Validated once, which keeps features of held-out pictures too.
        assert cfg.train_cfg.val_interval == cfg.train_cfg.max_iters
        recipes.append(cfg.to_dict())
    assert len(recipes) > 2
    assert all(recipe == recipes[0] for recipe in recipes)
    keeps = 'keep_features' in recipes[0]
    assert keeps == (name == 'photographs_frozen')


@pytest.mark.parametrize('name', STUDIES)
@pytest.mark.parametrize('missing', VARIABLES)
def test_a_variable_that_is_not_set(name, missing, data, monkeypatch):
    monkeypatch.delenv(missing)
    if missing in ('FLICKR8K', 'COCO'):
        with pytest.raises(ConfigError) as caught:
            read(name)
        said = f'.py takes {missing} from the environment, where it is not'
        assert said in str(caught.value)
        assert '\n' not in str(caught.value)
        return
    other = {'ENTITIES': 'Segmentation', 'COCO_MASKS': 'Grounding'}[missing]
    types = {task['type'] for task in read(name).tasks}
    assert types == {'Retrieval', 'KPrecision', other}


def test_nothing_at_the_place_that_is_named(data, monkeypatch):
    monkeypatch.setenv('FLICKR8K', '/not/there')
    with pytest.raises(UserError, match='no split file at /not/there'):
        read('photographs')


@pytest.mark.parametrize(
    ('recipe', 'expected'),
    [
        ('mgca_vitsmall', {'type': 'MGCA', 'embed_dims': 192}),
        ('filip_vitsmall', {'type': 'FILIP'}),
    ],
)
def test_own_recipes_differ_in_the_objective_alone(recipe, expected):
    one = load_config(FOLDER / 'configs' / f'{recipe}.py').to_dict()
    other = load_config(ROOT / 'configs/sparc_vitsmall_flickr8k.py').to_dict()
    assert one['model'].pop('objective') == expected
    assert other['model'].pop('objective')['type'] == 'SPARC'
    assert one == other
