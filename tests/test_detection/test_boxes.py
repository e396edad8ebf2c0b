"""Boxes are read from any file in COCO's layout, from folders and zips."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.config import Config

from sparc_vlm.datasets.export import CATEGORIES
from sparc_vlm.datasets.images import BrokenImage
from sparc_vlm.datasets.scenes import Scenes
from sparc_vlm.detection.archive import ArchiveBackend
from sparc_vlm.detection.boxes import CocoBoxes
from sparc_vlm.detection.data_flag import use_boxes
from sparc_vlm.engine import ConfigError
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.recipe import use_data

LOAD = [
    LoadImageFromFile(),
    LoadAnnotations(with_bbox=True, with_mask=True),
]


def boxes(folder, images='images_train', **more):
    place = 'annotations/instances_train.json'
    if not (folder / place).is_file():
        place = 'instances_train.json'
    return CocoBoxes(
        **{'pipeline': LOAD, **more},
        data_root=str(folder),
        ann_file=place,
        data_prefix=dict(img=images),
    )


def test_classes_are_those_of_the_file(drawn):
    data = boxes(drawn)
    names = tuple(row['name'] for row in CATEGORIES)
    assert data.metainfo['classes'] == names
    assert len(data) == 4
    red = boxes(drawn, metainfo=dict(classes=('red circle',)))
    assert red.metainfo['classes'] == ('red circle',)
    # Labels follow the file, whatever the order they are asked for in.
    some = boxes(drawn, metainfo=dict(classes=(names[4], names[0])))
    assert some.metainfo['classes'] == (names[0], names[4])
    ids = [CATEGORIES[0]['id'], CATEGORIES[4]['id']]
    assert some.cat2label == {ids[0]: 0, ids[1]: 1}
    with pytest.raises(UsageError, match='no class red circl; did you mean'):
        boxes(drawn, metainfo=dict(classes=('red circl',)))


def test_boxes_and_masks_are_the_scenes(drawn):
    data, scenes = boxes(drawn), Scenes('train', 64, 4)
    names = data.metainfo['classes']
    for index in range(4):
        row, things = data[index], scenes.boxes(index)
        assert np.array_equal(
            row['img'][..., ::-1], np.asarray(scenes.image(index))
        )
        found = row['gt_bboxes'].tensor.numpy()
        assert np.allclose(found, [thing['box'] for thing in things])
        assert [names[label] for label in row['gt_bboxes_labels']] == [
            thing['name'] for thing in things
        ]
        # Run lengths, not polygons.
        assert np.array_equal(row['gt_masks'].masks, scenes.masks(index))


def test_zips_hold_the_same_as_folders(drawn, zipped):
    folder, archive = boxes(drawn), boxes(zipped, 'images_train.zip')
    archive = pickle.loads(pickle.dumps(archive))  # as a worker gets it
    for index in range(4):
        assert np.array_equal(folder[index]['img'], archive[index]['img'])


def test_an_archive_says_what_it_lacks(zipped, tmp_path):
    backend = ArchiveBackend()
    with pytest.raises(BrokenImage, match='not found in'):
        backend.get(f'archive://{zipped}/images_train.zip/x/none.png')
    with pytest.raises(MissingFileError, match='no part of it is a zip'):
        backend.get(f'archive://{tmp_path}/none.zip/a.png')


def test_files_that_are_not_there_are_said(drawn):
    with pytest.raises(MissingFileError, match='no images at .*images_no'):
        boxes(drawn, 'images_no')
    with pytest.raises(MissingFileError, match='no annotations at'):
        CocoBoxes(ann_file='nowhere.json')


@pytest.fixture
def broken(drawn, tmp_path):
    """Scenes with pictures that are none, missing, and empty."""
    folder = shutil.copytree(drawn, tmp_path / 'broken')
    (folder / 'images_train' / '00000000.png').write_bytes(b'none')
    (folder / 'images_train' / '00000001.png').unlink()
    (folder / 'images_train' / '00000003.png').write_bytes(b'')
    return folder


@pytest.mark.parametrize('index', [0, 1, 3])
def test_a_broken_picture_is_replaced_and_said(broken, index, log):
    row = boxes(broken)[index]
    assert row['img_path'].endswith('2.png')
    name = f'0000000{index}.png'
    assert any(name in line and 'another' in line for line in log)


@pytest.mark.parametrize('index', [0, 1, 3])
def test_a_broken_picture_is_grey_in_a_test_and_said(broken, index, log):
    row, whole = boxes(broken, test_mode=True)[index], boxes(broken)[2]
    assert row['img_path'].endswith(f'0000000{index}.png')
    assert row['img'].shape == whole['img'].shape
    assert row['img'].dtype == whole['img'].dtype
    assert (row['img'] == 114).all()
    assert row['ori_shape'] == whole['ori_shape']
    # What is on it is known, and counts as not found.
    assert len(row['gt_bboxes']) == len(Scenes('train', 64, 4).boxes(index))
    assert any('cannot be read' in line and 'grey' in line for line in log)


def test_a_transform_that_fails_is_no_broken_picture(drawn):
    def fails(row):
        raise AssertionError('not about pictures')

    with pytest.raises(AssertionError, match='not about pictures'):
        boxes(drawn, pipeline=[fails])[0]


def config(kind='CocoDataset'):
    data = dict(type=kind, data_root='x/', ann_file='y')
    metric = dict(type='CocoMetric', ann_file='y')
    return Config(
        dict(
            model=dict(heads=[dict(num_classes=80), dict(num_classes=80)]),
            train_dataloader=dict(dataset=data),
            val_dataloader=dict(dataset=data),
            val_evaluator=metric,
            test_dataloader=dict(dataset=data),
            test_evaluator=metric,
        )
    )


def test_the_flag_points_data_and_heads_at_a_folder(zipped):
    cfg = config()
    lines = use_boxes(cfg, [f'coco:{zipped}'])
    assert f'classes: {len(CATEGORIES)}' in lines
    assert [head.num_classes for head in cfg.model.heads] == [120, 120]
    for split in ('train', 'val'):
        data = cfg[f'{split}_dataloader'].dataset
        assert data.type == 'sparc_vlm.CocoBoxes'
        assert data.ann_file == f'{zipped}/instances_{split}.json'
        assert data.data_prefix.img == f'{zipped}/images_{split}.zip'
    assert cfg.val_evaluator.ann_file.endswith('instances_val.json')
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator


def test_held_out_pictures_may_come_from_elsewhere(drawn, zipped):
    cfg = config()
    use_boxes(cfg, [f'coco:{drawn}'], f'coco:{zipped}')
    assert str(drawn) in cfg.train_dataloader.dataset.ann_file
    assert str(zipped) in cfg.val_dataloader.dataset.ann_file
    cfg = config()
    use_boxes(cfg, [], f'coco:{zipped}')
    assert cfg.train_dataloader.dataset.ann_file == 'y'


def turned(content):
    content['categories'].reverse()


def fewer(content):
    del content['categories'][-1]


@pytest.mark.parametrize('change', [turned, fewer])
def test_other_classes_to_validate_on_are_one_sentence(
    drawn, tmp_path, change
):
    folder = shutil.copytree(drawn, tmp_path / 'other')
    file = folder / 'annotations' / 'instances_val.json'
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match='or has them in another order'):
        use_boxes(config(), [f'coco:{folder}'])


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [('{"images"', 'is not JSON'), ('{"images": []}', "has no 'categories'")],
)
def test_a_damaged_file_is_one_sentence(drawn, tmp_path, text, sentence):
    folder = shutil.copytree(drawn, tmp_path / 'damaged')
    file = folder / 'annotations' / 'instances_train.json'
    file.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        use_boxes(config(), [f'coco:{folder}'])


def test_classes_are_compared_with_those_of_the_config_too(drawn, tmp_path):
    folder = shutil.copytree(drawn, tmp_path / 'other')
    file = folder / 'annotations' / 'instances_val.json'
    content = json.loads(file.read_text())
    turned(content)
    file.write_text(json.dumps(content))
    cfg = config()
    use_boxes(cfg, [f'coco:{drawn}'])
    with pytest.raises(ConfigError, match='or has them in another order'):
        use_boxes(cfg, [], f'coco:{folder}')
    # of those that are asked for the order is the same
    cfg.train_dataloader.dataset.metainfo = dict(
        classes=[CATEGORIES[0]['name']]
    )
    use_boxes(cfg, [], f'coco:{folder}')
    # a detector by words may be asked for others
    words = Config(dict(cfg, model=dict(type='WordDetector')))
    for split in ('train', 'val', 'test'):
        words[f'{split}_dataloader'].dataset = dict(type='sparc_vlm.WordBoxes')
    use_boxes(words, [f'coco:{drawn}'], f'coco:{folder}')
    assert words.val_dataloader.dataset.annotations == str(file)


def test_data_sets_inside_of_others_are_pointed_at_a_folder(drawn):
    cfg = config()
    plain = dict(cfg.train_dataloader.dataset, pipeline=[])
    repeated = dict(type='RepeatDataset', times=3, dataset=plain)
    cfg.train_dataloader.dataset = repeated
    use_data(cfg, [f'coco:{drawn}'])
    inner = cfg.train_dataloader.dataset.dataset
    assert inner.type == 'sparc_vlm.CocoBoxes' and str(drawn) in inner.ann_file
    mixed = dict(type='ConcatDataset', datasets=[plain, plain])
    cfg.train_dataloader.dataset = mixed
    with pytest.raises(
        ConfigError, match='ConcatDataset is told what to read'
    ):
        use_data(cfg, [f'coco:{drawn}'])


@pytest.fixture
def bare(drawn, tmp_path):
    """A function that writes scenes without something in their rows."""

    def write(kind, *keys):
        folder = shutil.copytree(drawn, tmp_path / 'bare')
        for split in ('train', 'val'):
            file = folder / 'annotations' / f'instances_{split}.json'
            content = json.loads(file.read_text())
            for row in content[kind]:
                for key in keys:
                    row.pop(key)
            file.write_text(json.dumps(content))
        return folder

    return write


def test_what_can_be_told_from_boxes_may_be_left_out(drawn, bare):
    folder = bare('annotations', 'area', 'iscrowd')
    whole, left = boxes(drawn), boxes(folder)
    for index in range(len(whole)):
        one, other = whole[index], left[index]
        assert torch.equal(one['gt_bboxes'].tensor, other['gt_bboxes'].tensor)
        labels = one['gt_bboxes_labels'], other['gt_bboxes_labels']
        assert np.array_equal(*labels)
    with pytest.raises(ConfigError, match='has no area, which pycocotools'):
        use_boxes(config(), [f'coco:{folder}'])


@pytest.mark.parametrize(
    ('kind', 'key'), [('images', 'height'), ('annotations', 'bbox')]
)
def test_what_cannot_be_told_is_said(bare, kind, key):
    said = rf'instances_train\.json, {kind[:-1]} \d+: it has no {key}'
    with pytest.raises(UsageError, match=said):
        boxes(bare(kind, key))


@pytest.mark.parametrize(
    ('flags', 'kind', 'sentence'),
    [
        (['coco:{}', 'coco:{}'], 'CocoDataset', 'one --data'),
        (['scenes'], 'CocoDataset', 'a detector takes coco:/folder'),
        (['coco:{}'], 'LVISV1Dataset', 'LVISV1Dataset is told what to read'),
    ],
)
def test_other_flags_are_one_sentence(drawn, flags, kind, sentence):
    flags = [flag.format(drawn) for flag in flags]
    with pytest.raises(ConfigError, match=sentence) as caught:
        use_boxes(config(kind), flags)
    assert '\n' not in str(caught.value)


def test_without_anything_to_validate_on_it_is_said(drawn, tmp_path):
    folder = shutil.copytree(drawn, tmp_path / 'train_only')
    (folder / 'annotations' / 'instances_val.json').unlink()
    with pytest.raises(ConfigError, match='--val-data'):
        use_boxes(config(), [f'coco:{folder}'])
    cfg = config()
    use_boxes(cfg, [f'coco:{folder}'], f'coco:{folder}')
    validated = cfg.val_dataloader.dataset.ann_file
    assert validated.endswith('instances_train.json')
