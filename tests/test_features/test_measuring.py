"""Whoever measures a model looks pictures up that its recipe has kept."""

from __future__ import annotations

import json

import pytest

from sparc_vlm import hub
from sparc_vlm.features import keep_features, use_recipes_features
from sparc_vlm.models import TrunkWithLayers
from sparc_vlm.registry import MODELS
from sparc_vlm.study import read_sheet
from tests.test_features.made import recipe
from tests.test_study.made import runner_of, write_study
from tools import test as tool

# A recipe on disk says whose backbone it means.
SCOPE = {'model.vision.trunk.backbone.type': 'mmpretrain.ResNet'}


@pytest.fixture
def kept(tmp_path):
    """A recipe that has kept the features of its pictures."""
    keep_features(recipe(tmp_path, **SCOPE), lambda line: None)
    # As it was written: what keeping adds is not part of a recipe.
    return recipe(tmp_path, **SCOPE)


@pytest.fixture
def ran(monkeypatch):
    """Numbers of pictures that a trunk was run on."""
    counts, run = [], TrunkWithLayers.trunk_maps

    def counted(self, images):
        counts.append(len(images))
        return run(self, images)

    monkeypatch.setattr(TrunkWithLayers, 'trunk_maps', counted)
    return counts


def write_recipe(cfg, folder):
    path = folder / 'recipe.py'
    cfg.dump(path)
    return path


def write_model(cfg, folder, seed=None):
    """A model folder with the trunk that the recipe begins with."""
    model = MODELS.build(cfg.model)
    model.vision.trunk.init_weights()
    if seed is not None:
        next(model.vision.trunk.parameters()).data.add_(seed)
    return hub.save(model, folder, cfg.model.to_dict())


def test_the_tool_runs_no_trunk(kept, tmp_path, ran, capfd):
    model = write_model(kept, tmp_path / 'model')
    given = [str(write_recipe(kept, tmp_path)), str(model)]
    out = tmp_path / 'out.json'
    assert tool.main([*given, '--out', str(out)]) == 0
    assert ran == []
    said = capfd.readouterr().err
    folder = kept.keep_features
    assert f'3 pictures of this trunk are kept in {folder}' in said
    found = json.loads(out.read_text())['tasks']['retrieval']['metrics']
    # A recipe that keeps none, or a model without its recipe, runs it.
    none = ['--cfg-options', 'keep_features=None']
    assert tool.main([*given, '--out', str(out), *none]) == 0
    assert ran == [1]
    assert 'features:' not in capfd.readouterr().err
    assert json.loads(out.read_text())['tasks']['retrieval']['metrics'] == (
        found
    )


def test_pictures_that_nobody_kept_are_encoded(kept, tmp_path, ran, capfd):
    model = write_model(kept, tmp_path / 'model')
    test = f'retrieval:karpathy:{tmp_path}/dataset_made.json,split=test'
    path = write_recipe(kept, tmp_path)
    assert tool.main([str(path), str(model), '--tasks', test]) == 0
    assert ran == [1]


def test_maps_of_another_trunk_are_not_taken(kept, tmp_path, ran, capfd):
    model = write_model(kept, tmp_path / 'model', seed=1)
    assert tool.main([str(write_recipe(kept, tmp_path)), str(model)]) == 0
    assert ran == [1]
    assert 'features: 0 pictures of this trunk' in capfd.readouterr().err


def test_a_damaged_file_is_one_sentence(kept, tmp_path, capfd):
    for path in (tmp_path / 'features').glob('*.maps'):
        path.write_bytes(path.read_bytes()[:-1])
    model = write_model(kept, tmp_path / 'model')
    code = tool.main([str(write_recipe(kept, tmp_path)), str(model)])
    assert code == tool.USAGE
    assert 'is no whole file of feature maps' in capfd.readouterr().err


STUDY = """
arms = [
    dict(name='Kept', config='recipe.py'),
    dict(name='Not', config='recipe.py', options=dict(keep_features=None)),
]
tasks = ['retrieval:karpathy:{folder}/dataset_made.json,split=val']
"""


def test_a_study_runs_no_trunk(kept, tmp_path, ran):
    write_recipe(kept, tmp_path)
    text = STUDY.format(folder=tmp_path)
    lines = []
    runner = runner_of(write_study(tmp_path, text), tmp_path / 'work', lines)
    metrics = []
    for arm in runner.study.arms:
        run = arm.place(0, tmp_path / 'work')
        write_model(kept, run / 'model')
        failures = []
        assert runner._measure(arm, 0, lambda *told: None, failures)
        assert failures == []
        sheet = read_sheet(run / 'results/retrieval_karpathy.json.gz')
        metrics.append(sheet['metrics'])
        assert ran == ([] if arm.name == 'Kept' else [1])
    assert metrics[0] == metrics[1]
    assert lines == [
        'Kept, seed 0: features: 3 pictures of this trunk are kept in '
        f'{tmp_path}/features'
    ]


def test_other_models_are_left_as_they_are(kept):
    lines = []
    use_recipes_features(object(), kept, lines.append)
    vision = MODELS.build(dict(kept.model.vision, frozen=False))
    model = type('Model', (), {'vision': vision})
    use_recipes_features(model, kept, lines.append)
    assert vision.known is None
    assert lines == []
