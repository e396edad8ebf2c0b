"""Every recipe of a detector trains and is validated, through the tool."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures.mask import PolygonMasks

from sparc_vlm.engine import load_config, read_checkpoint
from sparc_vlm.engine.batch_fit import fit_batch
from sparc_vlm.errors import UsageError
from tests.test_configs import comment
from tests.test_detection.recipes import (
    CONFIGS,
    NAMES,
    WORDS,
    arguments,
    small,
)
from tests.test_detection.test_simple_fpn import DETECTORS as PYRAMIDS
from tools import train

pytestmark = pytest.mark.usefixtures('fresh')
PARTS = sorted(CONFIGS.glob('_base_/**/*.py'))
DETECTORS = dict(
    faster_rcnn='Faster R-CNN',
    mask_rcnn='Mask R-CNN',
    retinanet='RetinaNet',
    fcos='FCOS',
    rtmdet='RTMDet',
    dino='DINO',
)


def run(name, folder, data, steps=1, **more):
    """Status of the tool, and what it logged of each update and test."""
    options = {**small(name, steps), **more}
    status = train.main(
        [
            str(CONFIGS / f'{name}.py'),
            *('--data', f'coco:{data}', '--work-dir', str(folder)),
            *arguments(options),
        ]
    )
    return status, logged(folder)


def logged(folder):
    """Rows that a run's log holds; those of resumed runs come later."""
    files = sorted(Path(folder).glob('*/vis_data/scalars.json'))
    lines = [line for f in files for line in f.read_text().splitlines()]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize('name', NAMES)
def test_trains_a_step_and_is_validated(name, tmp_path, drawn, outlined):
    folder = outlined if name == 'mask_rcnn_vitb16_coco' else drawn
    status, rows = run(name, tmp_path / 'run', folder)
    assert status == 0
    losses, found = rows[0], rows[-1]
    assert 0 < losses['loss'] < 1e5
    assert losses['grad_norm'] > 0
    assert -1 <= found['coco/bbox_mAP'] <= 1
    assert ('coco/segm_mAP' in found) == ('mask' in name)
    assert ('loss_mask' in losses) == ('mask' in name)


@pytest.mark.parametrize('name', NAMES)
def test_says_what_it_trains(name):
    said = comment(CONFIGS / f'{name}.py')
    detector = re.split('_vit|_efficient', name)[0]
    assert said.startswith(f'{DETECTORS[detector]}, ')
    cfg = load_config(CONFIGS / f'{name}.py')
    assert f'{cfg.train_cfg.max_iters:,} updates' in said
    batch = cfg.auto_scale_lr.base_batch_size
    assert f'updates of {batch} pictures' in said
    # Full scale only is fitted to the machine.
    is_full = 'vitb16' in name
    assert bool(fit_batch(cfg)[1]) == is_full
    assert is_full or batch == cfg.train_dataloader.batch_size
    assert re.search(r'scenes|COCO|Flickr8k', said)
    assert ('minutes' in said) != ('no number to expect' in said)


@pytest.mark.parametrize('detector', DETECTORS)
def test_each_detector_comes_in_full_and_small(detector):
    assert f'{detector}_vitb16_coco' in NAMES
    assert f'{detector}_vitmini_scenes' in NAMES
    assert f'{detector}_vitsmall_coco2k' in NAMES
    polygons = detector == 'mask_rcnn'  # of nouns there are none
    assert (f'{detector}_vitsmall_flickr8k' in NAMES) != polygons


def test_every_part_is_used():
    files = [*CONFIGS.glob('*.py'), *PARTS]
    for part in PARTS:
        others = [file for file in files if file != part]
        assert any(part.name in file.read_text() for file in others), part


def test_configs_of_detectors_by_words_are_tested_too():
    tests = Path(__file__).parent.glob('test_words_*.py')
    text = ''.join(file.read_text() for file in tests)
    for file in CONFIGS.glob(f'{WORDS}*.py'):
        assert file.stem in text or "glob('words_*" in text, file


@pytest.mark.parametrize('name', [n for n in NAMES if 'vitb16' in n])
def test_full_scale_is_vitdets(name):
    cfg = load_config(CONFIGS / f'{name}.py')
    backbone = cfg.model.backbone
    assert (backbone.arch, backbone.patch_size) == ('base', 16)
    assert (backbone.img_size, backbone.window_size) == (1024, 14)
    assert backbone.drop_path_rate == 0.1
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer.type == 'AdamW'
    assert wrapper.paramwise_cfg.layer_decay.rate == 0.7
    resize, crop = cfg.train_dataloader.dataset.pipeline[3:5]
    assert (resize.scale, resize.ratio_range) == ((1024, 1024), (0.1, 2.0))
    assert resize.keep_ratio
    assert crop.crop_size == (1024, 1024)


@pytest.mark.parametrize(
    ('name', 'stated'),
    [('dino_vitb16_coco', 64), (f'{WORDS}vitb16_o365_vg', 256)],
)
def test_fewer_devices_change_the_rate_and_say_so(name, stated):
    cfg = load_config(CONFIGS / f'{name}.py')
    batch = cfg.train_dataloader.batch_size
    rate = cfg.optim_wrapper.optimizer.lr
    steps = cfg.train_cfg.max_iters
    fitted, lines = fit_batch(cfg, stated // batch, 2**36)
    assert fitted.to_dict() == cfg.to_dict()
    assert len(lines) == 1 and f'{stated} pictures ({batch} on' in lines[0]
    fitted, lines = fit_batch(cfg, 2, 2**36)
    share = 2 * batch / stated
    assert fitted.optim_wrapper.optimizer.lr == pytest.approx(
        rate * share**0.5
    )
    said = '\n'.join(lines)
    assert f'the recipe states {stated}' in said
    assert re.search(rf'million pictures seen in {steps} updates', said)
    assert 'negatives' not in said
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=stated)


@pytest.mark.parametrize('detector', DETECTORS)
def test_pyramids_are_those_of_the_necks_own_list(detector):
    alike = {'Mask R-CNN': 'Faster R-CNN', 'FCOS': 'RetinaNet'}
    title = DETECTORS[detector]
    options, _ = PYRAMIDS[alike.get(title, title)]
    neck = load_config(CONFIGS / f'{detector}_vitb16_coco.py').model.neck
    strides = options.get('strides', (4, 8, 16, 32))
    assert tuple(neck.strides) == tuple(strides)
    assert neck.get('extra_levels', 0) == options.get('extra_levels', 0)
    assert neck.get('extra', 'pool') == options.get('extra', 'pool')


@pytest.mark.parametrize('name', NAMES)
def test_heads_that_do_not_fit_the_data_are_noticed(name):
    hooks = load_config(CONFIGS / f'{name}.py').custom_hooks
    assert [hook.type for hook in hooks] == ['NumClassCheckHook']


def test_small_ones_have_the_encoders_of_pretraining():
    for trunk, recipe in (
        ('vitmini', 'sparc_vittiny_scenes'),
        ('vitsmall', 'sparc_vitsmall_coco'),
        ('efficientlite0', 'sparc_efficientlite0_flickr8k'),
    ):
        path = CONFIGS.parents[2] / 'configs' / f'{recipe}.py'
        vision = load_config(path).model.vision
        for name in (n for n in NAMES if trunk in n):
            backbone = load_config(CONFIGS / f'{name}.py').model.backbone
            for key in ('arch', 'patch_size', 'img_size', 'trunk'):
                assert backbone.get(key) == vision.get(key), (name, key)


def test_polygons_of_coco_stay_polygons(outlined, drawn):
    """From the file to the model; run lengths are refused by name."""
    name = 'mask_rcnn_vitb16_coco'
    cfg = load_config(CONFIGS / f'{name}.py', small(name))
    dataset = dict(cfg.train_dataloader.dataset, _scope_='mmdet')
    dataset.update(
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images_train'),
    )
    data = DATASETS.build(dict(dataset, data_root=str(outlined)))
    for _ in range(9):
        instances = data[0]['data_samples'].gt_instances
        assert isinstance(instances.masks, PolygonMasks)
        assert len(instances.masks) == len(instances.bboxes)
    with pytest.raises(UsageError, match='run lengths.*poly2mask=True'):
        DATASETS.build(dict(dataset, data_root=str(drawn)))


def test_pictures_may_stay_in_zips(tmp_path, zipped):
    name = 'faster_rcnn_vitmini_scenes'
    status, rows = run(name, tmp_path / 'run', zipped)
    assert status == 0
    assert 'coco/bbox_mAP' in rows[-1]


def test_a_frozen_backbone_stays_as_it_is(tmp_path, drawn):
    name = 'faster_rcnn_vitmini_scenes'
    frozen = {
        'model.backbone.frozen_stages': 2,
        'default_hooks.checkpoint.interval': 1,
    }
    status, _ = run(name, tmp_path / 'run', drawn, steps=2, **frozen)
    assert status == 0
    first, last = (
        read_checkpoint(tmp_path / 'run' / f'iter_{step}.pth')['state_dict']
        for step in (1, 2)
    )
    for part, stays in (
        ('pos_embed', True),
        ('patch_embed.', True),
        ('layers.0.', True),
        ('layers.1.', True),
        ('layers.2.', False),
    ):
        keys = [key for key in first if key.startswith(f'backbone.{part}')]
        same = [torch.equal(first[key], last[key]) for key in keys]
        assert same
        assert all(same) if stays else not any(same), part
    text = (next((tmp_path / 'run').glob('*/*.log'))).read_text()
    assert re.search(r'optimizer: \d+ parameters, [\d,]+ values, frozen', text)
