from __future__ import annotations

import json
import os

import numpy as np
import pytest

from sparc_vlm.datasets import (
    BrokenImage,
    ClassFolders,
    CocoCaptions,
    CsvCaptions,
    KarpathyCaptions,
    LabelLists,
)
from sparc_vlm.errors import UsageError, UserError
from sparc_vlm.registry import DATASETS
from tests.test_datasets.made import (
    caption,
    encoded,
    picture,
    write_coco,
    write_csv,
    write_images,
    write_karpathy,
)


def same(image, number):
    return np.array_equal(np.asarray(image), np.asarray(picture(number)))


def coco(root, **options):
    return CocoCaptions(
        root / 'annotations/captions_train.json',
        root / 'images_train.zip',
        **options,
    )


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_coco(tmp_path):
    source = coco(write_coco(tmp_path))
    assert len(source) == 4
    for index in range(4):
        assert source.key(index) == f'{index}.png'
        expected = [caption(index), caption(index + 50)]
        assert source.captions(index) == expected
        assert same(source.image(index), index)
        assert source.file(index) == ('png', encoded(index))
    assert not any(v for k, v in source.reading.items())


def test_coco_boxes_and_segments(tmp_path):
    root = write_coco(tmp_path)
    file = root / 'annotations/instances_train.json'
    source = coco(root, instances=file)
    boxes = source.boxes(0)
    assert boxes == [
        {'name': 'dog', 'box': [2, 2, 12, 12]},
        {'name': 'grass', 'box': [0, 0, 24, 24]},
    ]
    labels, names = source.segments(0)
    assert labels.shape == (24, 24)
    # The dog lies on the grass, though the file has it first.
    assert (labels[2:12, 2:12] == names.index('dog') + 1).all()
    assert (labels == names.index('grass') + 1).sum() == 24 * 24 - 100
    assert source.boxes(1) == []
    assert source.segments(1)[0].max() == 0

    def crowd_without_masks(content):
        content['annotations'][1]['iscrowd'] = 1
        for row in content['annotations']:
            del row['segmentation']

    edit(file, crowd_without_masks)
    source = coco(root, instances=file)
    assert [box['name'] for box in source.boxes(0)] == ['dog']
    with pytest.raises(ValueError, match='boxes but no segmentation'):
        source.segments(0)
    with pytest.raises(ValueError, match='instances='):
        coco(root).boxes(0)
    with pytest.raises(FileNotFoundError, match='no instances at none.json'):
        coco(root, instances='none.json')


def test_coco_rows_that_are_wrong_are_counted(tmp_path):
    root = write_coco(tmp_path)
    file = root / 'annotations/captions_train.json'

    def spoil(content):
        content['annotations'][0]['image_id'] = 999
        content['annotations'][1]['caption'] = None
        content['annotations'][2]['caption'] = ' two\nlines '
        del content['images'][3]['file_name']

    edit(file, spoil)
    source = coco(root)
    # One image without a name takes two captions with it.
    assert source.reading['skipped_rows'] == 5
    assert len(source) == 3
    assert source.captions(0) == ['']
    assert source.captions(1) == ['two lines', caption(51)]


def test_karpathy(tmp_path):
    file = write_karpathy(tmp_path)
    for split, numbers in (('train', [0, 1]), ('val', [2]), ('test', [3])):
        source = KarpathyCaptions(file, tmp_path / 'images', split)
        assert len(source) == len(numbers)
        for index, number in enumerate(numbers):
            expected = [caption(number), caption(number + 50)]
            assert source.captions(index) == expected
            assert same(source.image(index), number)
    with pytest.raises(ValueError, match="no split 'dev', only restval, te"):
        KarpathyCaptions(file, tmp_path / 'images', 'dev')


def test_karpathy_with_folders_of_another_layout(tmp_path):
    file = write_karpathy(tmp_path, folder='val2014')
    source = KarpathyCaptions(file, tmp_path / 'images', 'val')
    assert source.key(0) == 'val2014/2.png'
    assert same(source.image(0), 2)


def test_a_folder_is_walked_before_the_workers_start(tmp_path, monkeypatch):
    names = [f'{i}.png' for i in range(200)]
    images = write_images(tmp_path / 'images', [f'deep/{n}' for n in names])
    (images / 'deep/77.png').unlink()
    rows = [['image', 'caption'], *([n, 'a dog'] for n in names)]
    table = write_csv(tmp_path / 'a.csv', rows, ',')
    source = CsvCaptions(table, images)
    monkeypatch.setattr(os, 'walk', None)
    assert same(source.image(3), 3)
    with pytest.raises(BrokenImage, match='77.png: not found'):
        source.image(77)


def test_a_missing_picture_is_broken(tmp_path):
    file = write_karpathy(tmp_path)
    (tmp_path / 'images/2.png').unlink()
    source = KarpathyCaptions(file, tmp_path / 'images', 'val')
    with pytest.raises(BrokenImage, match='2.png: not found in .*images'):
        source.image(0)


@pytest.mark.parametrize('separator', [',', '\t', ';'])
def test_csv(tmp_path, separator):
    rows = [
        ['id', 'Caption', 'filepath'],
        ['1', 'one, with "marks"\tand tab', 'pics/0.png'],
        ['2', 'two', 'pics/1.png'],
        ['3', 'one again; more', 'pics/0.png'],
        ['4', '', 'pics/1.png'],
    ]
    path = write_csv(tmp_path / 'train.csv', rows, separator)
    write_images(tmp_path, ['pics/0.png', 'pics/1.png'])
    source = CsvCaptions(path)
    assert len(source) == 2
    assert source.captions(0) == [
        'one, with "marks" and tab',
        'one again; more',
    ]
    assert source.captions(1) == ['two', '']
    assert same(source.image(1), 1)


def test_an_empty_table(tmp_path):
    path = tmp_path / 'a.csv'
    path.touch()
    with pytest.raises(UsageError, match=r'a\.csv is empty: its first line'):
        CsvCaptions(path)


def test_csv_columns_by_name(tmp_path):
    rows = [['where', 'what', 'title'], ['0.png', 'a dog', 'x']]
    path = write_csv(tmp_path / 'a.csv', rows, ',')
    write_images(tmp_path, ['0.png'])
    source = CsvCaptions(path, tmp_path, 'where', 'WHAT')
    assert source.captions(0) == ['a dog']
    with pytest.raises(ValueError, match='where, what, title.* none is call'):
        CsvCaptions(path)
    with pytest.raises(FileNotFoundError, match='no table'):
        CsvCaptions(tmp_path / 'b.csv')


def test_csv_rows_that_are_wrong_are_counted(tmp_path):
    path = tmp_path / 'a.tsv'
    path.write_bytes(
        b'path\tcaption\n0.png\tcaf\xe9\nonly-a-path\n\n\tno path\n'
        b'1.png\tnul\x00l\n2.png\t' + b'x' * 200_000 + b'\n3.png\tlast\n'
    )
    write_images(tmp_path, ['0.png'])
    source = CsvCaptions(path)
    assert source.captions(0) == ['caf\xe9']
    keys = [source.key(i) for i in range(len(source))]
    assert keys == ['0.png', '1.png', '3.png']
    assert source.captions(1) == ['null']
    assert source.reading['bad_encodings'] == 1
    assert source.reading['skipped_rows'] == 3


def test_a_mark_that_is_never_closed_swallows_no_lines(tmp_path):
    path = tmp_path / 'a.tsv'
    path.write_text(
        'path\tcaption\n0.png\t"a dog\n1.png\ta "big" cat\n'
        '2.png\t"one" of two\n3.png\t"he ""said"" so"\n'
    )
    source = CsvCaptions(path)
    found = {source.key(i): source.captions(i) for i in range(len(source))}
    assert found == {
        '0.png': ['"a dog'],
        '1.png': ['a "big" cat'],
        '2.png': ['"one" of two'],
        '3.png': ['he "said" so'],
    }
    assert not source.reading['skipped_rows']


@pytest.mark.parametrize('kind', ['root', 'root.zip', 'root.tar'])
def test_class_folders(tmp_path, kind):
    names = ['cat/0.png', 'hot_dog/1.png', 'hot_dog/2.png', 'n01/3.png']
    root = write_images(tmp_path / kind, names)
    source = ClassFolders(root, 'a {}', {'n01': 'goldfish'})
    texts = [source.captions(i) for i in range(4)]
    assert texts == [['a cat'], ['a hot dog'], ['a hot dog'], ['a goldfish']]
    assert source.classes == ['cat', 'hot dog', 'goldfish']
    assert [source.label(i) for i in range(4)] == [0, 1, 1, 2]
    assert [source.key(i) for i in range(4)] == names
    assert all(same(source.image(i), i) for i in range(4))
    (tmp_path / 'names.json').write_text('{"cat": "tabby"}')
    named = ClassFolders(root, names=str(tmp_path / 'names.json'))
    assert named.captions(0) == ['tabby']
    with pytest.raises(ValueError, match='class name/picture.jpg'):
        ClassFolders(write_images(tmp_path / 'flat', ['0.png']))


def test_names_of_class_folders_are_a_json_of_them(tmp_path):
    write_images(tmp_path / 'a', ['x/0.png'])
    names = tmp_path / 'names.json'
    for text, said in (
        (None, 'no annotations at'),
        ('{"x"', 'names.json is not JSON'),
        ('["x"]', 'names.json is no JSON of folder: name'),
    ):
        if text:
            names.write_text(text)
        with pytest.raises(UserError, match=said):
            ClassFolders(tmp_path / 'a', names=str(names))
    names.write_text('{"x": "ex"}')
    assert ClassFolders(tmp_path / 'a', names=str(names)).classes == ['ex']


def test_label_lists(tmp_path):
    write_images(tmp_path, ['0.png', '1.png'])
    wanted = [['dog grass red ball'], ['cat']]
    files = {
        'a.json': json.dumps({'0.png': ['dog', 'grass', 'red ball']})[:-1]
        + ', "1.png": "cat"}',
        'a.jsonl': '{"path": "0.png", "labels": ["dog", "grass", '
        '"red ball"]}\n{"path": "1.png", "labels": ["cat"]}\n',
        'a.tsv': '0.png\tdog\tgrass\tred ball\n1.png\tcat\n',
        'a.txt': '0.png\tdog, grass, red ball\n\n1.png\tcat\n',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        source = LabelLists(tmp_path / name)
        assert [source.captions(i) for i in range(2)] == wanted, name
        assert same(source.image(1), 1)
        assert source.classes == ['dog', 'grass', 'red ball', 'cat']
        assert [source.label(i) for i in range(2)] == [-1, 3]
    joined = LabelLists(tmp_path / 'a.txt', joint=', ')
    assert joined.captions(0) == ['dog, grass, red ball']


def test_label_lines_that_are_wrong_are_counted(tmp_path):
    text = 'no tab\n{"path": 3\n{"labels": []}\n0.png\tdog\n'
    text += '{"path": 5, "labels": ["a"]}\n'
    (tmp_path / 'a.txt').write_text(text)
    source = LabelLists(tmp_path / 'a.txt')
    assert len(source) == 1 and source.reading['skipped_rows'] == 4
    (tmp_path / 'a.json').write_text('{"0.png": ["dog"')
    with pytest.raises(UsageError, match=r'a\.json is not JSON'):
        LabelLists(tmp_path / 'a.json')
    (tmp_path / 'b.txt').write_text('nothing\n')
    with pytest.raises(ValueError, match='no line of path'):
        LabelLists(tmp_path / 'b.txt')


def test_annotation_files_that_are_wrong_are_named(tmp_path):
    write_images(tmp_path / 'images', ['0.png'])
    bad = tmp_path / 'bad.json'

    def build(kind='CocoCaptions'):
        config = {'annotations': str(bad), 'images': str(tmp_path / 'images')}
        return DATASETS.build({'type': kind, **config})

    with pytest.raises(FileNotFoundError, match='bad.json'):
        build()
    bad.write_text('{"images": [')
    with pytest.raises(ValueError, match='bad.json is not JSON'):
        build()
    for text in ('[]', '{"images": []}'):
        bad.write_text(text)
        with pytest.raises(ValueError, match='bad.json has no'):
            build()
    bad.write_text('{"annotations": []}')
    with pytest.raises(ValueError, match="no 'images'"):
        build('KarpathyCaptions')
