"""Detectors as arms of a study: trained, opened and measured as any other."""

from __future__ import annotations

import json
import signal

import pytest

from sparc_vlm import hub
from sparc_vlm.datasets.export import export_scenes
from sparc_vlm.datasets.scenes import Scenes
from sparc_vlm.engine import load_config
from sparc_vlm.registry import MODELS
from sparc_vlm.study import figures, read_sheet, write_report
from sparc_vlm.study import run as running
from tests.test_detection.made_boxes import Seer, made_truth, write
from tests.test_study.made import ROOT, run, write_study
from tools import compare

RECIPE = 'projects/detection/configs/faster_rcnn_vitmini_scenes.py'
MADE = """
title = 'Boxes'
custom_imports = dict(imports=['sparc_vlm.detection'])
arms = [
    dict(name='Blunt', config='{recipe}', seeds=2),
    dict(name='Sharp', config='{recipe}'),
]
data = 'coco:{scenes}'
_files = dict(annotations='{annotations}', images='{images}')
tasks = [
    dict(type='BoxAP', masks=True, **_files),
    dict(type='WordAP', rare=['dog'], **_files),
]
pictures = dict(
    dataset=dict(type='CocoInstances', **_files),
    indices=[0, 3],
    words=['ball', 'dog', 'box', 'cone'],
)
"""
REAL = """
title = 'Boxes'
steps = 2
data = 'coco:{scenes}'
options = {{
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'train_cfg.val_begin': 100,
    'model.backbone.init_cfg.checkpoint': '{folder}/seed{{seed}}/model',
}}
arms = [dict(name='Pretrained', config='{recipe}', seeds=[4])]
tasks = [
    dict(
        type='BoxAP',
        annotations='{scenes}/annotations/instances_val.json',
        images='{scenes}/images_val',
    )
]
"""


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    """Drawn scenes on disk, as a user has them."""
    folder = tmp_path_factory.mktemp('scenes')
    for split in ('train', 'val'):
        drawn = Scenes(split=split, size=64, num_images=6)
        export_scenes(drawn, folder)
    return folder


@pytest.fixture(autouse=True)
def handler():
    """The tool changes what a signal does."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_intervals_of_average_precision_and_of_differences(
    scenes, trainer, tmp_path, monkeypatch
):
    truth = made_truth(12)
    annotations, images = write(tmp_path, truth)

    def open_seer(name, device='cpu'):
        noise = 2.0 if 'sharp' in name else 25.0
        return Seer(truth, int('seed1' in name), noise)

    for place in (running, figures):
        monkeypatch.setattr(place, 'open_model', open_seer)
    text = MADE.format(
        recipe=RECIPE, scenes=scenes, annotations=annotations, images=images
    )
    runner = run(write_study(tmp_path, text), tmp_path / 'work')
    assert runner.failures == []
    assert trainer.started == ['blunt/seed0', 'sharp/seed0', 'blunt/seed1']
    page = write_report(
        runner.study, tmp_path / 'work', tmp_path / 'out', ROOT, []
    )
    report = json.loads((tmp_path / 'out/results.json').read_text())
    found = report['arms']['Sharp']['metrics']
    assert set(found) == {'box_ap', 'word_ap'}
    for entry in (*found['box_ap'].values(), *found['word_ap'].values()):
        low, high = entry['interval']
        assert low <= entry['mean'] <= high
        assert entry['draws'] == 200
        assert entry['difference']['interval'] is not None
    assert found['box_ap']['ap']['difference']['interval'][0] > 0
    text = page.read_text('utf-8')
    for said in (
        'Detection, average precision',
        'AP rare',
        'mask AP75',
        '200 draws',
        'What is found',
    ):
        assert said in text
    assert 'Where each word looks' not in text
    assert (tmp_path / 'out' / 'figures' / 'found-3.png').is_file()


def write_pretrained(folder):
    """A model folder of the recipe's own encoders, which nobody trained."""
    path = ROOT / 'configs' / '_base_' / 'models' / 'sparc_vitmini.py'
    cfg = load_config(path).model.to_dict()
    return hub.save(MODELS.build(cfg), folder, cfg)


def test_a_real_one_from_training_to_page(scenes, tmp_path, capfd):
    """Nothing replaced; it starts from what was pretrained with its seed."""
    text = REAL.format(recipe=RECIPE, scenes=scenes, folder=tmp_path)
    path, work = write_study(tmp_path, text), tmp_path / 'work'
    given = [str(path), '--work-dir', str(work)]
    assert compare.main(given) == compare.USAGE
    assert 'seed4/model' in capfd.readouterr().err
    write_pretrained(tmp_path / 'seed4' / 'model')
    assert compare.main(given) == 0, capfd.readouterr()
    run = work / 'pretrained' / 'seed4'
    sheet = read_sheet(run / 'results' / 'box_ap.json.gz')
    assert len(sheet['samples']) == 6
    assert len(sheet['classes']) == 120
    assert 0 <= sheet['metrics']['ap'] <= 100
    log = (run / 'train.log').read_text()
    assert 'keys matched' in log
    report = json.loads((work / 'results.json').read_text())
    entry = report['arms']['Pretrained']['metrics']['box_ap']['ap']
    assert entry['interval'] is not None
