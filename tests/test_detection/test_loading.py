"""A detector that is saved and loaded finds what it found before."""

from __future__ import annotations

import json

import pytest
import torch
from mmdet.apis import inference_detector
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from pycocotools import mask as coco_mask

import sparc_vlm
from sparc_vlm import detection
from sparc_vlm.detection.export import inference_pipeline
from sparc_vlm.engine import ConfigError
from sparc_vlm.errors import UsageError
from sparc_vlm.weights import WeightsError
from tests.test_detection.tiny_detectors import (
    CLASSES,
    PIPELINE,
    RECIPES,
    build,
    picture,
    save,
)
from tests.test_study.made import save_model

META = ('img_id', 'img_shape', 'scale_factor')


def as_mmdet_finds(model, path):
    """What MMDetection's own function finds on a file."""
    model.cfg = Config(
        dict(test_dataloader=dict(dataset=dict(pipeline=PIPELINE)))
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        return inference_detector(model, str(path)).pred_instances


@pytest.mark.parametrize('kind', RECIPES)
def test_the_same_is_found_before_and_after(kind, tmp_path):
    model, cfg = build(kind)
    picture().save(tmp_path / 'a.png')
    expected = as_mmdet_finds(model, tmp_path / 'a.png')
    folder = detection.save(model, tmp_path / 'x', cfg, PIPELINE, CLASSES)
    loaded = detection.load(folder)
    assert loaded.classes == CLASSES
    assert not loaded.takes_words
    assert not loaded.model.training
    (found,) = loaded.detect([tmp_path / 'a.png'])
    assert 3 < len(found) <= 100
    order = expected.scores.argsort(descending=True, stable=True)
    torch.testing.assert_close(found.boxes, expected.bboxes[order])
    torch.testing.assert_close(found.scores, expected.scores[order])
    assert found.labels.tolist() == expected.labels[order].tolist()
    assert len(found.labels.unique()) > 1
    if kind != 'mask_rcnn':
        assert found.masks is None
        return
    masks = torch.stack(
        [torch.from_numpy(coco_mask.decode(mask)) for mask in found.masks]
    )
    assert masks.shape[1:] == (48, 64)
    assert torch.equal(masks.bool(), expected.masks[order])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save('faster_rcnn', tmp_path_factory.mktemp('saved') / 'model')


@pytest.fixture(scope='module')
def loaded(folder):
    return detection.load(folder)


def test_the_folder_holds_no_code_and_no_paths_of_this_machine(folder):
    text = (folder / 'config.json').read_text()
    assert sorted(path.name for path in folder.iterdir()) == [
        'config.json',
        'model.safetensors',
    ]
    assert 'init_cfg' not in text
    steps = [s['type'] for s in json.loads(text)['detector']['pipeline']]
    assert steps == ['Resize', 'PackDetInputs']


def test_several_pictures_of_several_sizes_as_one_batch(loaded):
    pictures = [picture(1), picture(2, (40, 64))]
    both = loaded.detect(pictures, limit=5)
    for image, together in zip(pictures, both, strict=True):
        (alone,) = loaded.detect([image], limit=5)
        # Padding of the smaller one reaches into the last pixels.
        assert len(together) == len(alone) == 5
        assert (together.boxes[:, 2] <= image.width).all()
        assert (together.boxes[:, 3] <= image.height).all()
    assert loaded.detect([]) == []


def test_boxes_end_with_the_picture_where_it_was_padded(tmp_path):
    model, cfg = build('retinanet')
    torch.nn.init.normal_(model.bbox_head.retina_reg.weight, std=5)
    padded = [*PIPELINE[:2], dict(type='Pad', size=(96, 96)), *PIPELINE[2:]]
    padded[-1] = dict(type='PackDetInputs', meta_keys=META)
    folder = detection.save(model, tmp_path / 'x', cfg, padded, CLASSES)
    (found,) = detection.load(folder).detect([picture()])
    assert found.boxes.min() >= 0
    assert found.boxes[:, 2].max() == 64
    assert found.boxes[:, 3].max() == 48
    for shape in ((40, 30), (30, 40)):
        (found,) = detection.load(folder).detect([picture(0, shape)])
        assert (found.boxes[:, 2:] <= torch.tensor(shape)).all()


def test_the_best_are_kept(loaded):
    (all_of_them,) = loaded.detect([picture()])
    (few,) = loaded.detect([picture()], limit=3)
    assert few.scores.tolist() == all_of_them.scores[:3].tolist()
    assert all_of_them.scores.diff().max() <= 0
    middle = float(all_of_them.scores.median())
    above = all_of_them.above(middle)
    assert 0 < len(above) < len(all_of_them)
    assert above.scores.min() >= middle


def test_labels_of_others():
    found = detection.Detections(
        torch.arange(12.0).view(3, 4),
        torch.tensor([0.9, 0.5, 0.1]),
        torch.tensor([2, 0, 1]),
        [{'size': 1}, {'size': 2}, {'size': 3}],
    )
    other = found.relabelled([5, -1, 3])
    assert other.labels.tolist() == [3, 5]
    assert other.scores.tolist() == pytest.approx([0.9, 0.5])
    assert other.masks == [{'size': 1}, {'size': 2}]
    assert found.above(0.6).masks == [{'size': 1}]


def test_words_are_for_detectors_that_take_them(loaded):
    with pytest.raises(
        UsageError, match='red circle, .*: leave the words out'
    ):
        loaded.detect([picture()], words=['dog'])


def test_weights_of_a_checkpoint_beside_the_folder(folder, tmp_path):
    other, _ = build('faster_rcnn', seed=1)
    torch.save(other.state_dict(), folder.parent / 'iter_9.pth')
    for path in (folder.parent / 'iter_9.pth', folder.parent):
        key = 'rpn_head.rpn_cls.bias'
        got = detection.load(path).model.state_dict()[key]
        same = torch.equal(got, other.state_dict()[key])
        assert same == (path != folder.parent)


def test_each_kind_of_folder_says_who_loads_it(folder, tmp_path):
    ours = save_model(tmp_path)
    with pytest.raises(
        WeightsError,
        match=r'of a detector: load it with sparc_vlm\.detection\.load',
    ):
        sparc_vlm.load(folder)
    with pytest.raises(
        WeightsError, match=r'of a model: load it with sparc_vlm\.load'
    ):
        detection.load(ours)


def damaged(folder, change):
    content = json.loads((folder / 'config.json').read_text())
    change(content['detector'])
    (folder / 'config.json').write_text(json.dumps(content))


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (
            lambda found: found['model'].update(type='os.system'),
            r'os\.system, which is no registered model',
        ),
        (
            lambda found: found['pipeline'].insert(0, {'type': 'os.mkdir'}),
            r'os\.mkdir, which is no registered',
        ),
        (
            lambda found: found['model'].update(backbane=1),
            'cannot be built: .*backbane',
        ),
        (
            lambda found: found['model']['rpn_head'].update(feat_channels=17),
            'do not fit FasterRCNN: .* mismatched',
        ),
        (lambda found: found.pop('classes'), 'cannot be built'),
    ],
)
def test_a_folder_that_is_not_as_it_was(tmp_path, change, said):
    folder = save('faster_rcnn', tmp_path)
    damaged(folder, change)
    with pytest.raises(WeightsError, match=said) as caught:
        detection.load(folder)
    assert '\n' not in str(caught.value)


def test_the_transforms_of_a_recipe():
    inner = dict(type='CocoBoxes', pipeline=PIPELINE)
    wrapped = dict(type='ConcatDataset', dataset=inner)
    for stage in ('test', 'val'):
        cfg = Config({f'{stage}_dataloader': dict(dataset=wrapped)})
        assert inference_pipeline(cfg) == [ConfigDict(s) for s in PIPELINE]
    none = Config(dict(test_dataloader=None, val_dataloader=None))
    with pytest.raises(ConfigError, match='give the recipe a test_dataloader'):
        inference_pipeline(none)
