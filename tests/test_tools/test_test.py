import json

import pytest

from sparc_vlm.evaluation import Retrieval
from sparc_vlm.study import read_sheet
from tests.test_datasets.made import write_karpathy
from tests.test_detection.tiny_detectors import save
from tests.test_study.made import ROOT, save_model
from tools import test as tool

RECIPE = str(ROOT / 'configs' / 'clip_vittiny_scenes.py')
FOLDER = ROOT / 'projects' / 'detection' / 'configs'
DETECTOR = str(FOLDER / 'faster_rcnn_vitmini_scenes.py')
SCENES = 'retrieval:scenes:,size=32,num_images=6'


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return str(save_model(tmp_path_factory.mktemp('saved')))


def test_the_tasks_of_a_recipe(model, tmp_path, capfd):
    out = tmp_path / 'new' / 'results.json'
    few = [f'val_evaluator.{n}.dataset.num_images=7' for n in (0, 1)]
    given = [RECIPE, model, '--out', str(out), '--cfg-options', *few]
    assert tool.main([*given, 'randomness.seed=5']) == 0
    printed = capfd.readouterr()
    assert 'Zero-shot retrieval, R@K' in printed.out
    assert 'image to text R@1' in printed.out
    assert '7 samples' in printed.out
    assert f'written: {out}' in printed.out
    report = json.loads(out.read_text())
    assert report['model'] == model
    assert report['seed'] == 5
    assert 'clip' in report['config'].lower()
    assert report['versions']['torch']
    assert report['failed'] == {}
    assert list(report['tasks']) == ['retrieval', 'segmentation']
    for sheet in report['tasks'].values():
        assert len(sheet['samples']) == 7
        assert sheet['seconds'] > 0
        assert sheet['settings']['task']['dataset']['num_images'] == 7
        assert set(sheet['chance']) == set(sheet['metrics'])
    # The recipe's own argument for all tasks has gone to each.
    assert tool.tasks_of(*tool_recipe())[1] == {'batch_size': 64}


def tool_recipe():
    return tool.load_config(RECIPE), []


def test_tasks_that_are_named(model, tmp_path, capfd):
    """By the model alone; on data in folders as well as on scenes."""
    path = write_karpathy(tmp_path)
    out = tmp_path / 'results.json.gz'
    flags = f'{SCENES},name=mine', f'retrieval:karpathy:{path},split=val'
    code = tool.main([model, '--tasks', ','.join(flags), '--out', str(out)])
    assert code == 0, capfd.readouterr()
    report = read_sheet(out)
    assert list(report['tasks']) == ['mine', 'retrieval_karpathy']
    assert report['config'] is None
    assert 'Zero-shot retrieval, R@K: mine' in capfd.readouterr().out


def test_a_failed_task_is_reported_and_the_others_stand(
    model, tmp_path, capfd, monkeypatch
):
    def fail(self, model, progress=None):
        raise RuntimeError('no such thing')

    monkeypatch.setattr(Retrieval, 'run', fail)
    out = tmp_path / 'results.json'
    others = 'pointing:scenes:,size=32,num_images=6'
    code = tool.main([model, '--tasks', SCENES, others, '--out', str(out)])
    assert code == tool.FAILED
    printed = capfd.readouterr()
    assert 'FAILED retrieval_scenes: RuntimeError: no such' in printed.err
    assert 'Traceback' in printed.err
    assert 'Pointing game' in printed.out
    report = json.loads(out.read_text())
    assert list(report['tasks']) == ['pointing_scenes']
    assert report['failed'] == {
        'retrieval_scenes': 'RuntimeError: no such thing'
    }


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ([RECIPE], 'is a recipe: name what was trained with it as well'),
        (['MODEL'], 'say what to measure: --tasks TASK:KIND:PATH'),
        (['MODEL', 'MODEL'], 'two models are named'),
        (['no/where', '--tasks', SCENES], 'there is no model at no/where'),
        ([RECIPE, 'no/where'], 'there is no model at no/where'),
        (['no.py', 'MODEL'], 'no config no.py'),
        ([DETECTOR, 'MODEL'], 'is CocoMetric, of a detector: those are'),
        (['MODEL', '--tasks', 'retrival:scenes:'], 'did you mean retrieval'),
        (['MODEL', '--tasks', SCENES, SCENES], 'the same name'),
        (
            ['MODEL', '--tasks', SCENES, '--device', 'gpu'],
            "cannot compute on the device 'gpu' here: choose cpu",
        ),
        (['MODEL', '--tasks', f'{SCENES},batch_size=0'], 'batch_size'),
        (['EMPTY', '--tasks', SCENES], 'has no config.json of ours'),
        (
            ['MODEL', '--tasks', SCENES, '--cfg-options', 'a=1'],
            'needs a recipe',
        ),
        (
            ['MODEL', '--tasks', SCENES, '--out', '/proc/no/x.json'],
            '/proc/no cannot be written to',
        ),
    ],
)
def test_mistakes_are_one_sentence(model, tmp_path, capfd, given, said):
    place = {'MODEL': model, 'EMPTY': str(tmp_path)}
    assert tool.main([place.get(arg, arg) for arg in given]) == tool.USAGE
    printed = capfd.readouterr()
    last = printed.err.strip().splitlines()[-1]
    assert last.startswith('error: ')
    assert said in last
    assert 'Traceback' not in printed.err


def test_a_detector_is_sent_to_where_detectors_are_measured(tmp_path, capfd):
    folder = str(save('mask_rcnn', tmp_path))
    assert tool.main([folder, '--tasks', SCENES]) == tool.USAGE
    said = capfd.readouterr().err
    assert f'error: {folder} is a detector: those are measured in a' in said
    assert 'Traceback' not in said
