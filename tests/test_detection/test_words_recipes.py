"""Each recipe of the detector by words trains a step on drawn data."""

from __future__ import annotations

import uuid
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from sparc_vlm import hub
from sparc_vlm.datasets import CaptionTokenizer, Scenes
from sparc_vlm.datasets.export import export_scenes
from sparc_vlm.datasets.report import new_report
from sparc_vlm.detection import WordBoxes
from sparc_vlm.detection import load as load_detector
from sparc_vlm.detection.words.mosaic import GridMosaic
from sparc_vlm.engine import ConfigError, check_config, load_config
from sparc_vlm.recipe import use_data
from sparc_vlm.registry import MODELS, RUNNERS
from tests.test_detection.words_made import (
    WORDS,
    tokenizer,
    write_coco,
    write_visual_genome,
)
from tests.test_engine.tiny import Lines, history
from tests.test_models.tiny_models import ARCH

FOLDER = Path(__file__).resolve().parents[2] / 'projects/detection/configs'
FILES = sorted(FOLDER.glob('words_*.py'))
TRAIN, VAL = 'train_dataloader.dataset', 'val_dataloader.dataset'
TINY = {
    'model.encoders.vision.arch': ARCH,
    'model.encoders.text.embed_dims': 12,
    'model.encoders.text.num_layers': 2,
    'model.encoders.text.num_heads': 2,
    'model.encoders.embed_dims': 8,
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.num_workers': 0,
    'default_hooks.logger.interval': 1,
    'optim_wrapper.dtype': None,
    'param_scheduler.0.end': 2,
    'param_scheduler.1.begin': 1,
}
"""What makes a recipe a matter of a second."""
pytestmark = pytest.mark.usefixtures('fresh')


def scenes(folder):
    for split in ('train', 'val'):
        export_scenes(Scenes(split, 64, 6), folder)
    return {
        f'{place}.{key}': str(folder / name)
        for place, split in ((TRAIN, 'train'), (VAL, 'val'))
        for key, name in (
            ('annotations', f'annotations/instances_{split}.json'),
            ('images', f'images_{split}'),
        )
    } | {
        'val_evaluator.ann_file': str(
            folder / 'annotations/instances_val.json'
        )
    }


def flickr8k(folder):
    changes = {}
    for place, split in ((f'{TRAIN}.dataset', 'train'), (VAL, 'val')):
        file, images = folder / f'instances_{split}.json', folder / split
        write_coco(file, images, name='{}.jpg')
        with zipfile.ZipFile(folder / f'{split}.zip', 'w') as archive:
            for picture in images.iterdir():
                archive.write(picture, f'Flicker8k_Dataset/{picture.name}')
        changes[f'{place}.annotations'] = str(file)
        changes[f'{place}.images'] = str(folder / f'{split}.zip')
    changes['val_evaluator.ann_file'] = str(folder / 'instances_val.json')
    return changes


def o365_vg(folder):
    write_coco(
        folder / 'o365.json', folder / 'train', name='images/v1/patch0/{}.jpg'
    )
    write_visual_genome(folder / 'vg')
    write_coco(
        folder / 'lvis.json',
        folder / 'val2017',
        neg_category_ids=[5],
        not_exhaustive_category_ids=[],
    )
    mixed = f'{TRAIN}.dataset.datasets'
    lvis = str(folder / 'lvis.json')
    return {
        f'{mixed}.0.annotations': str(folder / 'o365.json'),
        f'{mixed}.0.images': str(folder / 'train'),
        f'{mixed}.0.leave_out.annotations': lvis,
        f'{mixed}.1.annotations': str(folder / 'vg/objects.json'),
        f'{mixed}.1.image_data': str(folder / 'vg/image_data.json'),
        f'{mixed}.1.images': str(folder / 'vg'),
        f'{mixed}.1.leave_out.annotations': lvis,
        f'{TRAIN}.pipeline.0.size': 96,
        f'{VAL}.annotations': lvis,
        f'{VAL}.images': [str(folder / 'val2017'), str(folder / 'train')],
        f'{VAL}.pipeline.1.scale': (96, 96),
        f'{VAL}.pipeline.2.size': (96, 96),
        'val_evaluator.ann_file': lvis,
    }


DATA = dict(scenes=scenes, flickr8k=flickr8k, o365_vg=o365_vg)


def data_of(file):
    """What a recipe trains on, by name."""
    return file.stem.split('_', 2)[2]


def recipe(file, folder, **changes):
    """A recipe on drawn data, checked, and shrunk."""
    kind = data_of(file)
    changes = TINY | DATA[kind](folder) | changes
    arch = changes.pop('model.encoders.vision.arch')
    cfg = load_config(file, changes)
    cfg.model.encoders.vision.arch = arch
    check_config(cfg)
    cfg.work_dir = str(folder / 'run')
    cfg.experiment_name = uuid.uuid4().hex
    return cfg


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_trains_and_validates(file, tmp_path):
    tokens = {
        'model.encoders.tokenizer.type': 'CaptionTokenizer',
        'model.encoders.tokenizer.path': str(tokenizer(tmp_path)),
    }
    runner = RUNNERS.build(recipe(file, tmp_path, **tokens))
    lines = Lines(runner)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.train()
    for key in ('loss_word', 'loss_box', 'loss_overlap'):
        losses = torch.tensor(history(runner, f'train/{key}'))
        assert losses.isfinite().all()
    after = runner.model.state_dict()
    for part in ('vision.layers', 'text.layers.0', 'text_adapter'):
        keys = [k for k in before if k.startswith(f'encoders.{part}')]
        assert any(not torch.equal(before[k], after[k]) for k in keys), part
    assert 'nothing broken' in lines
    assert 'num_classes' not in lines, 'no head has a number of classes'
    assert 'bbox_mAP' in '\n'.join(lines.lines) or 'bbox_AP' in lines


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_says_what_it_trains(file):
    said = file.read_text().split('_base_')[0]
    assert said.startswith('# A detector by words')
    cfg = load_config(file)
    assert f'{cfg.train_cfg.max_iters}' in said.replace('140k', '140000')
    batch = cfg.auto_scale_lr.base_batch_size
    assert f'updates of {batch} pictures' in said.replace('\n# ', ' ')
    assert cfg.auto_batch or batch == cfg.train_dataloader.batch_size


def test_starts_from_a_model_folder_and_is_found_again(tmp_path):
    """From a pretraining run's folder to a folder that detects."""
    tokens = CaptionTokenizer(tokenizer(tmp_path))
    file = FOLDER / 'words_vitmini_scenes.py'
    start = str(tmp_path / 'pretrained')
    cfg = load_config(file)
    encoders = cfg.model.encoders.to_dict()
    encoders['vision']['arch'] = ARCH
    encoders['text'].update(
        embed_dims=12, num_layers=2, num_heads=2, vocab_size=tokens.vocab_size
    )
    encoders['embed_dims'] = 8
    pretrainer = MODELS.build(encoders | dict(_scope_='sparc_vlm'))
    pretrainer.tokenizer = tokens
    hub.save(pretrainer, start, encoders)
    changes = {'model.init_cfg.checkpoint': start}
    cfg = recipe(file, tmp_path, **changes)
    cfg.custom_hooks.append(dict(type='sparc_vlm.DetectorExportHook'))
    runner = RUNNERS.build(cfg)
    lines = Lines(runner)
    runner.train()
    assert 'keys matched' in lines
    detector = load_detector(tmp_path / 'run' / 'model')
    picture = tmp_path / 'images_val' / '00000000.png'
    (found,) = detector.detect([picture], words=WORDS, limit=5)
    assert len(found) == 5
    for key, value in runner.model.state_dict().items():
        assert torch.equal(detector.model.state_dict()[key], value)


def test_a_resumed_run_reads_no_picture_again(tmp_path, monkeypatch):
    tokens = {
        'model.encoders.tokenizer.path': str(tokenizer(tmp_path)),
        'default_hooks.checkpoint.interval': 1,
        'train_cfg.val_begin': 9,
    }
    file, read = FOLDER / 'words_vitmini_scenes.py', []
    RUNNERS.build(recipe(file, tmp_path, **tokens)).train()
    whole = WordBoxes.prepare_data
    monkeypatch.setattr(
        WordBoxes,
        'prepare_data',
        lambda self, index: read.append(index) or whole(self, index),
    )
    cfg = recipe(file, tmp_path, **tokens)
    cfg.resume, cfg.load_from = True, str(tmp_path / 'run' / 'iter_1.pth')
    RUNNERS.build(cfg).train()
    assert len(read) == cfg.train_dataloader.batch_size


@pytest.mark.parametrize('place', [TRAIN, VAL])
def test_scenes_come_as_they_are_and_other_pictures_resized(place, tmp_path):
    cfg = recipe(FOLDER / 'words_vitmini_scenes.py', tmp_path)
    dataset = dict(cfg[place.split('.')[0]].dataset, _scope_='mmdet')
    plain = [s for s in dataset['pipeline'] if s.type != 'Resize']
    assert len(plain) == len(dataset['pipeline']) - 1
    found = []
    for steps in (dataset['pipeline'], plain):
        np.random.seed(1)
        found.append(DATASETS.build(dict(dataset, pipeline=steps))[0])
    assert torch.equal(*(each['inputs'] for each in found))
    if place == TRAIN:
        boxes, twins = (
            each['data_samples'].gt_instances.bboxes.tensor for each in found
        )
        assert torch.equal(boxes, twins)
        assert len(boxes)
    write_coco(tmp_path / 'own.json', tmp_path / 'own')
    for path in (tmp_path / 'own').iterdir():
        Image.open(path).resize((200, 150)).save(path)
    dataset |= dict(
        annotations=str(tmp_path / 'own.json'),
        images=str(tmp_path / 'own'),
        leave_out=None,
    )
    assert DATASETS.build(dataset)[0]['inputs'].shape == (3, 48, 64)


def squares(name):
    """What a picture goes through from reading to packing, while testing."""
    steps = load_config(FOLDER / f'{name}.py').val_dataloader.dataset.pipeline
    with DefaultScope.overwrite_default_scope('mmdet'):
        return Compose([ConfigDict(step) for step in steps[1:-1]])


@pytest.mark.parametrize(
    ('name', 'side'),
    [('words_efficientlite0_flickr8k', 224), ('words_vitb16_o365_vg', 768)],
)
def test_pictures_are_tested_in_squares_as_they_are_trained_on(name, side):
    """The same pixels as one picture of the mosaic."""
    size = load_config(FOLDER / f'{name}.py').train_dataloader.dataset
    (mosaic,) = (s for s in size.pipeline if 'GridMosaic' in s.type)
    assert mosaic.size == side
    pixels = np.random.default_rng(0).integers(
        0, 255, (36, 60, 3), dtype=np.uint8
    )
    found = squares(name)(dict(img=pixels))
    tile = dict(
        img=pixels,
        gt_bboxes=HorizontalBoxes(torch.zeros(0, 4)),
        gt_bboxes_labels=np.zeros(0, int),
        report=new_report(),
        **dict.fromkeys(('words', 'absent', 'incomplete', 'vocabularies'), ()),
    )
    twin = GridMosaic(side)(tile)
    assert found['img_shape'] == twin['img_shape'] == (side, side)
    assert np.array_equal(found['img'], twin['img'])


def test_a_folder_of_cocos_layout_in_place_of_the_configs(tmp_path):
    """The same as naming its files by hand, mosaics or not."""
    changes = scenes(tmp_path)
    for name, place in (
        ('words_vitmini_scenes', TRAIN),
        ('words_efficientlite0_flickr8k', f'{TRAIN}.dataset'),
    ):
        by_hand = {
            key.replace(TRAIN, place): value for key, value in changes.items()
        }
        cfg = load_config(FOLDER / f'{name}.py')
        use_data(cfg, [f'coco:{tmp_path}'])
        wanted = load_config(FOLDER / f'{name}.py', by_hand)
        assert cfg.to_dict() == wanted.to_dict()


def test_several_data_sets_are_named_in_the_config_alone(drawn):
    cfg = load_config(FOLDER / 'words_vitb16_o365_vg.py')
    with pytest.raises(ConfigError, match='told what to read in the config'):
        use_data(cfg, [f'coco:{drawn}'])
