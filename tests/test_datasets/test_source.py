from __future__ import annotations

import json

import pytest

from sparc_vlm.datasets import data_from_flag, write_shards
from sparc_vlm.registry import DATASETS
from tests.test_datasets.made import (
    ListSource,
    caption,
    write_coco,
    write_csv,
    write_images,
    write_karpathy,
)


def built(flag):
    found = data_from_flag(flag)
    assert set(found) == {'train', 'val'}
    return [config and DATASETS.build(config) for config in found.values()]


def check(source, count, text=None):
    assert len(source) == count
    assert source.image(0).mode == 'RGB'
    if text:
        assert source.captions(0)[0] == text


def test_scenes():
    train, val = built('scenes')
    check(train, 100_000)
    check(val, 1000)
    assert train.captions(0) != val.captions(0)
    with pytest.raises(ValueError, match='takes no path'):
        data_from_flag('scenes:/data')


def test_coco(tmp_path):
    write_coco(tmp_path)
    write_coco(tmp_path, 2, 'val')
    train, val = built(f'coco:{tmp_path}')
    check(train, 4, caption(0))
    check(val, 2)
    assert train.boxes(0)[0]['name'] == 'dog'


def test_coco_as_it_is_downloaded(tmp_path):
    write_coco(tmp_path, split='train2017')
    write_coco(tmp_path, 3, 'val2017')
    names = [f'{i}.png' for i in range(4)]
    for split in ('train2017', 'val2017'):
        (tmp_path / f'images_{split}.zip').unlink()
        write_images(tmp_path / split, names)
    train, val = built(f'coco:{tmp_path}')
    check(train, 4)
    check(val, 3)
    assert train.boxes(0)


def test_coco_without_val_or_instances(tmp_path):
    write_coco(tmp_path)
    (tmp_path / 'annotations/instances_train.json').unlink()
    train, val = built(f'coco:{tmp_path}')
    check(train, 4)
    assert val is None


def test_coco_mistakes(tmp_path):
    with pytest.raises(FileNotFoundError, match='no folder at'):
        data_from_flag(f'coco:{tmp_path}/none')
    with pytest.raises(FileNotFoundError, match=r'captions_train\*.json in'):
        data_from_flag(f'coco:{tmp_path}')
    write_coco(tmp_path)
    (tmp_path / 'images_train.zip').unlink()
    with pytest.raises(FileNotFoundError, match='looked for images_train, im'):
        data_from_flag(f'coco:{tmp_path}')


def test_karpathy(tmp_path):
    file = write_karpathy(tmp_path)
    for flag in (f'karpathy:{file}', f'karpathy:{tmp_path}'):
        train, val = built(flag)
        check(train, 2, caption(0))
        check(val, 1, caption(2))


def test_karpathy_with_an_archive_a_split(tmp_path):
    file = write_karpathy(tmp_path)
    (tmp_path / 'images').rename(tmp_path / 'other')
    write_images(tmp_path / 'images_train.zip', ['0.png', '1.png'])
    write_images(tmp_path / 'images_val.zip', ['2.png'])
    train, val = built(f'karpathy:{file}')
    check(train, 2)
    check(val, 1)


def test_karpathy_over_the_folders_of_coco(tmp_path):
    images = [
        {
            'filename': f'{i}.png',
            'filepath': folder,
            'split': split,
            'sentences': [{'raw': 'a dog'}],
        }
        for i, (folder, split) in enumerate(
            [('train2014', 'train'), ('val2014', 'restval')]
        )
    ]
    file = tmp_path / 'dataset_coco.json'
    file.write_text(json.dumps({'images': images}, indent=1))
    write_images(tmp_path / 'train2014', ['0.png'])
    write_images(tmp_path / 'val2014', ['1.png'])
    train, val = built(f'karpathy:{file}')
    check(train, 2)
    train.image(1)
    assert val is None


def test_karpathy_mistakes(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such file'):
        data_from_flag(f'karpathy:{tmp_path}/a.json')
    with pytest.raises(FileNotFoundError, match=r'dataset\*.json'):
        data_from_flag(f'karpathy:{tmp_path}')
    (tmp_path / 'a.json').write_text('{"images": [{"split": "test"}]}')
    with pytest.raises(ValueError, match='no train split.*found test'):
        data_from_flag(f'karpathy:{tmp_path}/a.json')


def test_csv_and_labels(tmp_path):
    write_images(tmp_path / 'images', ['0.png', '1.png'])
    rows = [['path', 'caption'], ['0.png', 'a dog']]
    for name in ('train.csv', 'val.csv'):
        write_csv(tmp_path / name, rows, ',')
    train, val = built(f'csv:{tmp_path}/train.csv')
    check(train, 1, 'a dog')
    check(val, 1, 'a dog')
    (tmp_path / 'labels.txt').write_text('1.png\tdog,grass\n')
    train, val = built(f'labels:{tmp_path}/labels.txt')
    check(train, 1, 'dog grass')
    assert val is None
    with pytest.raises(FileNotFoundError, match='no file at'):
        data_from_flag(f'csv:{tmp_path}/none.csv')


def test_folders(tmp_path):
    write_images(tmp_path / 'a', ['dog/0.png', 'cat/1.png'])
    train, val = built(f'folders:{tmp_path}/a')
    check(train, 2, 'cat')
    assert val is None
    for split in ('train', 'val'):
        write_images(tmp_path / 'b' / split, ['dog/0.png'])
    train, val = built(f'folders:{tmp_path}/b')
    check(train, 1, 'dog')
    check(val, 1, 'dog')
    with pytest.raises(FileNotFoundError, match='no class folders'):
        data_from_flag(f'folders:{tmp_path}/none')


def test_shards(tmp_path):
    write_shards(ListSource(10), tmp_path, 5)
    pattern = f'{tmp_path}/{{000000..000001}}.tar'
    found = data_from_flag(f'shards:{pattern}')
    expected = {'type': 'ShardLoader', 'shards': pattern}
    assert found == {'train': expected, 'val': None}
    with pytest.raises(FileNotFoundError, match='no tar shards'):
        data_from_flag(f'shards:{tmp_path}/none.tar')


def test_unknown_kinds():
    with pytest.raises(ValueError, match='one of scenes, coco, karpathy, csv'):
        data_from_flag('koko:/data')
    with pytest.raises(ValueError, match='a path must follow, csv:/path'):
        data_from_flag('csv')
