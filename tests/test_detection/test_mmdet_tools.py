"""MMDetection's own ways to test a detector and to find things with it."""

from __future__ import annotations

import numpy as np
import pytest
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config

from sparc_vlm.datasets.export import CATEGORIES
from sparc_vlm.engine import load_config
from sparc_vlm.registry import RUNNERS
from tests.test_detection.recipes import CONFIGS, NAMES
from tests.test_detection.test_recipes import run

pytestmark = pytest.mark.usefixtures('fresh')
DATA = sorted(CONFIGS.glob('_base_/datasets/*.py'))
SMALL = [name for name in NAMES if 'vitb16' not in name]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A folder without data."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('name', SMALL)
@pytest.mark.filterwarnings('ignore:checkpoint is None')
def test_finds_things_where_there_are_no_data(name, nowhere):
    model = init_detector(CONFIGS / f'{name}.py', device='cpu')
    model.init_weights()  # as a checkpoint would set them
    picture = np.random.default_rng(0).integers(
        0, 255, (64, 64, 3), dtype=np.uint8
    )
    found = inference_detector(model, picture)
    boxes = found.pred_instances.bboxes
    assert boxes.shape[1:] == (4,)
    assert ('masks' in found.pred_instances) == ('mask' in name)
    assert boxes.numel() == 0 or boxes.max() <= 64


@pytest.mark.parametrize('file', DATA, ids=lambda file: file.stem)
def test_what_is_validated_on_is_tested_on(file):
    cfg = load_config(file)
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator
    assert cfg.test_cfg.type == 'TestLoop'


def test_a_checkpoint_of_ours_is_tested_and_opened(tmp_path, drawn):
    """As MMDetection's tools/test.py goes, and its API."""
    name = 'faster_rcnn_vitmini_scenes'
    changes = {
        'default_hooks.checkpoint.interval': 1,
        'test_evaluator.metric': 'none, as training tests nothing',
    }
    status, rows = run(name, tmp_path / 'run', drawn, **changes)
    assert status == 0
    (written,) = (tmp_path / 'run').glob('*.py')
    cfg = Config.fromfile(written)
    cfg.load_from = str(tmp_path / 'run' / 'iter_1.pth')
    cfg.work_dir = str(tmp_path / 'tested')
    cfg.test_evaluator.metric = 'bbox'
    cfg.test_dataloader.num_workers = 0
    found = RUNNERS.build(cfg).test()
    assert found['coco/bbox_mAP'] == rows[-1]['coco/bbox_mAP']
    model = init_detector(CONFIGS / f'{name}.py', cfg.load_from, device='cpu')
    names = [row['name'] for row in CATEGORIES]
    assert list(model.dataset_meta['classes']) == names
