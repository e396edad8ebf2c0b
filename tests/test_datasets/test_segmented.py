"""Readers of segmentation data, on small files in the official formats."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from sparc_vlm.datasets import (
    BrokenImage,
    CocoCaptions,
    CocoInstances,
    CocoPanoptic,
    PascalContext,
    PascalVoc,
)
from sparc_vlm.datasets.kinds import KINDS
from sparc_vlm.datasets.readers.panoptic import plain_words
from sparc_vlm.datasets.readers.pascal_context import CLASSES, NUMBERS
from sparc_vlm.registry import DATASETS
from tests.test_datasets.made import write_coco, write_images

NAMES = ['2007_000033', '2007_000042']
# A person, a tv monitor, the void line between them, and background.
MAP = np.array([[0, 15, 15], [0, 255, 20]], np.uint8)


def write_map(path, numbers, palette=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(numbers))
    if palette:
        picture.putpalette(list(range(256)) * 3)
    picture.save(path)


def write_kit(root, year='VOC2012', maps='SegmentationClass'):
    """A development kit with two pictures, the second's map missing."""
    folder = root / year
    sets = folder / 'ImageSets' / 'Segmentation'
    sets.mkdir(parents=True)
    (sets / 'val.txt').write_text('\n'.join(NAMES) + '\n')
    write_images(folder / 'JPEGImages', [f'{n}.jpg' for n in NAMES])
    write_map(folder / maps / f'{NAMES[0]}.png', MAP)
    return folder


def test_voc(tmp_path):
    folder = write_kit(tmp_path / 'VOCdevkit')
    for root in (folder, folder.parent, tmp_path):
        source = PascalVoc(root)
        assert len(source) == 2 and source.key(0) == f'{NAMES[0]}.jpg'
        labels, names = source.segments(0)
        assert names == ['person', 'tv monitor']
        assert labels.tolist() == [[0, 1, 1], [0, -1, 2]]
        assert source.image(1).mode == 'RGB'
        assert source.captions(0) == []
    assert len(source.classes) == 20 and source.classes[14] == 'person'
    assert {'dining table', 'potted plant'} < set(source.classes)
    with pytest.raises(BrokenImage, match='000042.png: not found'):
        source.segments(1)


def test_voc_of_several_years_and_augmented_maps(tmp_path):
    write_kit(tmp_path, 'VOC2007')
    late = write_kit(tmp_path, maps='SegmentationClassAug')
    assert PascalVoc(tmp_path)._maps.path.startswith(str(tmp_path / 'VOC2007'))
    augmented = PascalVoc(tmp_path, maps='SegmentationClassAug')
    assert augmented._maps.path.startswith(str(late))


def test_voc_mistakes(tmp_path):
    with pytest.raises(FileNotFoundError, match='no Pascal VOC at'):
        PascalVoc(tmp_path)
    folder = write_kit(tmp_path)
    with pytest.raises(FileNotFoundError, match='Segmentation/test.txt'):
        PascalVoc(tmp_path, 'test')
    (folder / 'ImageSets/Segmentation/none.txt').write_text('\n \n')
    with pytest.raises(ValueError, match='none.txt lists no picture'):
        PascalVoc(tmp_path, 'none')


def test_damaged_maps(tmp_path):
    folder = write_kit(tmp_path)
    source = PascalVoc(tmp_path)
    path = folder / 'SegmentationClass' / f'{NAMES[0]}.png'
    data = path.read_bytes()
    for cut in (0, 20, len(data) // 2):
        path.write_bytes(data[:cut])
        with pytest.raises(BrokenImage, match=NAMES[0]):
            source.segments(0)
    write_map(path, np.full((2, 2), 21, np.uint8), palette=False)
    with pytest.raises(ValueError, match='of class 21, and there are 20'):
        source.segments(0)
    Image.new('RGB', (2, 2)).save(path)
    with pytest.raises(BrokenImage, match='has colours .RGB. in place of'):
        source.segments(0)


# Of the 459 classes: aeroplane, ceiling, tv monitor, accordion (not one of
# the 59), wood, and nothing.
ORIGINAL = np.array([[2, 68, 427], [1, 458, 0]], np.uint16)


def write_original(root, folder='VOC2010'):
    year = write_kit(root, folder)
    main = year / 'ImageSets' / 'Main'
    main.mkdir()
    (main / 'val.txt').write_text(f'{NAMES[0]}\n{NAMES[1]}\n')
    maps = root / 'trainval'
    maps.mkdir(parents=True)
    savemat(maps / f'{NAMES[0]}.mat', {'LabelMap': ORIGINAL})
    (maps / f'{NAMES[1]}.mat').write_bytes(b'not a map')
    return year, maps


def write_names(path, numbers):
    lines = [f'{n}: {name.replace(" ", "")}' for name, n in numbers.items()]
    path.write_text('\n'.join(lines) + '\n')
    return path


def check_original(source):
    labels, names = source.segments(0)
    assert names == ['aeroplane', 'ceiling', 'tv monitor', 'wood']
    assert labels.tolist() == [[1, 2, 3], [0, 4, 0]]


def test_context_as_it_is_published(tmp_path):
    year, maps = write_original(tmp_path / 'VOCdevkit')
    write_kit(tmp_path / 'VOCdevkit', 'VOC2012')
    for root in (year, year.parent, tmp_path):
        source = PascalContext(root)
        assert len(source) == 2
        check_original(source)
    assert len(source.classes) == 59
    with pytest.raises(BrokenImage, match=f'{NAMES[1]}.mat'):
        source.segments(1)
    moved = maps.rename(tmp_path / 'elsewhere')
    with pytest.raises(FileNotFoundError, match='or say maps=PATH'):
        PascalContext(year)
    check_original(PascalContext(year, maps=moved))


def test_context_takes_numbers_from_labels_txt(tmp_path):
    year, maps = write_original(tmp_path)
    path = write_names(maps.parent / 'labels.txt', NUMBERS)
    check_original(PascalContext(tmp_path))
    write_names(path, {**NUMBERS, 'ceiling': 1, 'accordion': 68})
    labels, names = PascalContext(tmp_path).segments(0)
    assert labels.tolist() == [[1, 0, 3], [2, 4, 0]]
    path.write_text('1: accordion\n')
    with pytest.raises(ValueError, match='labels.txt has no number for aero'):
        PascalContext(tmp_path)


CONVERTED = np.array([[1, 16, 0], [59, 255, 55]], np.uint8)


def write_converted(root):
    year = write_kit(root, 'VOC2010')
    sets = year / 'ImageSets' / 'SegmentationContext'
    sets.mkdir()
    (sets / 'val.txt').write_text(f'{NAMES[0]}\n')
    maps = year / 'SegmentationClassContext'
    write_map(maps / f'{NAMES[0]}.png', CONVERTED, palette=False)
    return year


def test_context_as_mmsegmentation_converts_it(tmp_path):
    year = write_converted(tmp_path / 'VOCdevkit')
    for root in (year, year.parent, tmp_path):
        source = PascalContext(root)
        assert len(source) == 1
        labels, names = source.segments(0)
        assert names == ['aeroplane', 'ceiling', 'tv monitor', 'wood']
        assert labels.tolist() == [[1, 2, 0], [4, -1, 3]]


def test_context_maps_in_the_order_of_59_labels(tmp_path):
    year = write_converted(tmp_path)
    voc = 'aeroplane bicycle bird boat bottle bus car cat chair cow'
    order = [*voc.split(), 'diningtable']
    order += [n for n in CLASSES if n not in {*order, 'table'}]
    names = {name: place for place, name in enumerate(order, 1)}
    names['bedcloth'] = names.pop('bedclothes')
    names['clothes'] = names.pop('cloth')
    path = write_names(tmp_path / '59_labels.txt', names)
    write_map(
        year / 'SegmentationClassContext' / f'{NAMES[0]}.png',
        np.array([[names['clothes'], 11, names['sky'], 2, 0]], np.uint8),
    )
    labels, names = PascalContext(year, names=path).segments(0)
    assert [names[k - 1] for k in labels[0, :4]] == [
        'cloth', 'table', 'sky', 'bicycle'
    ]  # fmt: skip
    with pytest.raises(FileNotFoundError, match='no names at none.txt'):
        PascalContext(year, names='none.txt')


def test_the_59_numbers_are_in_alphabetical_order():
    """Which is why sorted numbers and alphabetical names are one order."""
    assert len(CLASSES) == 59
    plain = [name.replace(' ', '') for name in CLASSES]
    assert plain == sorted(plain)
    numbers = list(NUMBERS.values())
    assert numbers == sorted(set(numbers)) and numbers[-1] <= 459


def test_coco_instances(tmp_path):
    """Grass covers the picture, a dog lies on it; the rest shows nothing."""
    root = write_coco(tmp_path, split='val2017')
    file = root / 'annotations/instances_val2017.json'
    source = CocoInstances(file, root / 'images_val2017.zip')
    assert len(source) == 4 and source.classes == ['grass', 'dog']
    labels, names = source.segments(0)
    assert names == ['grass', 'dog']
    assert (labels[2:12, 2:12] == 2).all()
    assert (labels == 1).sum() == 24 * 24 - 100
    assert source.segments(1)[0].tolist() == np.zeros((24, 24)).tolist()
    assert [box['name'] for box in source.boxes(0)] == ['dog', 'grass']
    both = CocoCaptions(
        root / 'annotations/captions_val2017.json',
        root / 'images_val2017.zip',
        file,
    )
    assert both.classes == source.classes
    assert (both.segments(0)[0] == labels).all()


def test_crowds_are_void_but_for_what_lies_on_them(tmp_path):
    root = write_coco(tmp_path)
    file = root / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    dog, grass = content['annotations']
    grass['iscrowd'] = 1
    # Smaller than the dog, and yet below it.
    grass['area'] = 1
    del content['images'][1]['height']
    content['images'].append({'id': 77})
    content['annotations'].append({'id': 5, 'image_id': 10})
    file.write_text(json.dumps(content))
    source = CocoInstances(file, root / 'images_train.zip')
    labels, names = source.segments(0)
    assert names == ['dog']
    assert (labels[2:12, 2:12] == 1).all()
    assert (labels == -1).sum() == 24 * 24 - 100
    assert source.reading['skipped_rows'] == 2 and len(source) == 4


def test_a_box_without_an_outline_is_void(tmp_path):
    root = write_coco(tmp_path)
    file = root / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    box = {'image_id': 10, 'category_id': 7, 'bbox': [10.5, -3, 5, 6.2]}
    content['annotations'][1] = {**box, 'iscrowd': 1}
    file.write_text(json.dumps(content))
    labels, names = CocoInstances(file, root / 'images_train.zip').segments(0)
    assert names == ['dog']
    assert (labels[2:12, 2:12] == 1).all()
    void = np.zeros((24, 24), bool)
    void[:4, 10:16] = True
    void[2:12, 2:12] = False
    assert ((labels == -1) == void).all()
    content['annotations'] = content['annotations'][1:]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='boxes but no segmentation'):
        CocoInstances(file, root / 'images_train.zip').segments(0)


def packed(numbers):
    """Panoptic colours: R + 256 G + 65536 B."""
    numbers = np.asarray(numbers)
    parts = [numbers % 256, numbers // 256 % 256, numbers // 65536]
    return np.stack(parts, -1).astype(np.uint8)


def write_panoptic(root, split='val2017'):
    """Two cats, a crowd of cats, a brick wall; the other map is missing."""
    annotations = root / 'annotations'
    maps = annotations / f'panoptic_{split}'
    numbers = np.array([[0, 70_000, 300, 70_000], [7, 9_000_000, 9, 7]])
    maps.mkdir(parents=True)
    Image.fromarray(packed(numbers)).save(maps / '1.png')
    images = [{'id': n, 'file_name': f'{n}.jpg'} for n in (1, 2, 3)]
    parts = [(70_000, 17, 0), (300, 17, 0), (9_000_000, 175, 0), (7, 17, 1)]
    parts.append((9, 125, 0))
    content = {
        'images': images,
        'annotations': [
            {
                'image_id': n,
                'file_name': f'{n}.png',
                'segments_info': [
                    {'id': i, 'category_id': kind, 'iscrowd': crowd}
                    for i, kind, crowd in parts
                ],
            }
            for n in (1, 2)
        ],
        'categories': [
            {'id': 17, 'name': 'cat', 'isthing': 1},
            {'id': 125, 'name': 'grass-merged', 'isthing': 0},
            {'id': 175, 'name': 'wall-brick', 'isthing': 0},
        ],
    }
    file = annotations / f'panoptic_{split}.json'
    file.write_text(json.dumps(content))
    write_images(root / split, [f'{n}.jpg' for n in (1, 2, 3)])
    return file, content, maps


def test_panoptic(tmp_path):
    file, _, maps = write_panoptic(tmp_path)
    zipped = maps.with_suffix('.zip')
    with zipfile.ZipFile(zipped, 'w') as archive:
        archive.write(maps / '1.png', 'panoptic_val2017/1.png')
    for place in (None, maps, zipped):
        source = CocoPanoptic(file, tmp_path / 'val2017', place)
        assert source.classes == ['cat', 'grass', 'brick wall']
        assert [source.key(i) for i in range(len(source))] == [
            '1.jpg',
            '2.jpg',
        ]
        labels, names = source.segments(0)
        assert names == ['cat', 'grass', 'brick wall']
        assert labels.tolist() == [[-1, 1, 1, 1], [-1, 3, 2, -1]]
        with pytest.raises(BrokenImage, match='2.png: not found'):
            source.segments(1)


def test_panoptic_mistakes(tmp_path):
    file, content, maps = write_panoptic(tmp_path)
    parts = content['annotations'][0]['segments_info']
    content['annotations'][1]['segments_info'][0]['category_id'] = 999
    content['annotations'].append({'image_id': 3, 'file_name': '3.png'})
    content['annotations'].append(None)
    parts.pop()
    file.write_text(json.dumps(content))
    source = CocoPanoptic(file, tmp_path / 'val2017')
    assert len(source) == 1 and source.reading['skipped_rows'] == 3
    with pytest.raises(ValueError, match='1.png: nothing is said of 9$'):
        source.segments(0)
    maps.rename(tmp_path / 'away')
    with pytest.raises(FileNotFoundError, match='or say maps=PATH'):
        CocoPanoptic(file, tmp_path / 'val2017')


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('dining table', 'dining table'),
        ('sky-other-merged', 'sky'),
        ('tree-merged', 'tree'),
        ('door-stuff', 'door'),
        ('floor-wood', 'wood floor'),
        ('wall-other-merged', 'wall'),
        ('wall-tile', 'tile wall'),
        ('window-blind', 'window blind'),
        ('window-other', 'window'),
        ('playingfield', 'playing field'),
        ('food-other-merged', 'food'),
    ],
)
def test_stuff_in_plain_words(name, words):
    assert plain_words(name) == words


def test_kinds_of_a_command_line(tmp_path):
    write_kit(tmp_path / 'voc')
    write_converted(tmp_path / 'context')
    write_coco(tmp_path / 'coco', split='val2017')
    write_panoptic(tmp_path / 'panoptic')
    for kind, name in (
        ('voc', 'person'),
        ('context', 'aeroplane'),
        ('coco', 'grass'),
        ('panoptic', 'cat'),
    ):
        build = KINDS['segmentation'][kind]
        source = DATASETS.build(build(str(tmp_path / kind), {}))
        assert source.segments(0)[1][0] == name
        with pytest.raises(FileNotFoundError):
            DATASETS.build(build(str(tmp_path / kind), {'split': 'dev'}))
