"""The studies of detectors: their data and their starts are where they say."""

import json
import shutil

import pytest

from sparc_vlm.datasets.export import export_scenes
from sparc_vlm.datasets.scenes import Scenes
from sparc_vlm.study import build_tasks, read_study
from tests.test_study.made import ROOT, leave_models, read_whole

FOLDER = ROOT / 'projects' / 'detection'
SCENES = 'pretraining_study/scenes'
FROZEN = 'pretraining_study/photographs_frozen'
STARTS = {
    'swap_scenes': (SCENES, ['CLIP', 'SPARC', 'SPARC+']),
    'words_scenes': (SCENES, ['CLIP', 'SPARC', 'SPARC+']),
    'swap_coco2k': (FROZEN, ['CLIP', 'SPARC']),
    'words_flickr8k': (FROZEN, ['CLIP', 'SPARC']),
}
"""The pretraining study that each begins with, and which arms of it."""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Small data in the places that the studies name."""
    folder = tmp_path_factory.mktemp('here')
    scenes = folder / 'data' / 'scenes'
    for split in ('train', 'val', 'test'):
        export_scenes(Scenes(split, 64, 2), scenes)
    for name, annotations in (('coco2k', 'annotations'), ('flickr8k', '.')):
        (folder / 'data' / name / annotations).mkdir(parents=True)
        for split in ('train', 'val'):
            write_zipped(scenes, folder / 'data' / name, annotations, split)
    return folder


def write_zipped(scenes, folder, annotations, split):
    """The scenes of a split as photographs come, classes by frequency."""
    name = f'instances_{split}.json'
    content = json.loads((scenes / 'annotations' / name).read_text())
    for place, row in enumerate(content['categories']):
        row['frequency'] = 'rcf'[place % 3]
    (folder / annotations / name).write_text(json.dumps(content))
    pictures = f'images_{split}'
    shutil.make_archive(folder / pictures, 'zip', scenes / pictures)


@pytest.mark.parametrize('name', STARTS)
def test_can_be_begun(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    places = leave_models(folder / 'runs', *STARTS[name])
    monkeypatch.setenv('PRETRAINED', str(folder / 'runs'))
    found = read_whole(FOLDER / f'{name}.py', folder / 'work')
    (task,) = build_tasks(found.tasks)
    assert len(task.source.ids) == 2
    assert found.baseline == 'CLIP'
    seed = 1 if STARTS[name][0] == SCENES else 0
    for arm in found.arms:
        assert arm.seeds == (0, 1, 2)
        start = [
            value
            for key, value in arm.options_at(1).items()
            if key.endswith('init_cfg.checkpoint')
        ]
        own = places.get(arm.name.partition(',')[0])
        assert start == ([f'{own}/seed{seed}/model'] if own else [])
        frozen = 'model.backbone.frozen_stages' in arm.options
        assert frozen == arm.name.endswith(', frozen')


def test_what_is_rare_or_common_is_what_is_left_out(folder, monkeypatch):
    monkeypatch.chdir(folder)
    leave_models(folder / 'runs', *STARTS['words_scenes'])
    monkeypatch.setenv('PRETRAINED', str(folder / 'runs'))
    found = read_study(FOLDER / 'words_scenes.py', ROOT)
    (task,) = build_tasks(found.tasks)
    left_out = found.arms[0].recipe.train_dataloader.dataset.leave_out
    classes = task.source.classes
    rare, common = (
        {classes[place] for place in task.groups[group]}
        for group in ('rare', 'common')
    )
    # Whole shapes, and pairs of which either half is boxed elsewhere.
    assert rare == {name for name in classes if name.split()[1] in left_out}
    assert common == {name for name in classes if name in left_out}
    assert len(rare) == 20
    assert len(common) == len(left_out) - 2 == 10
