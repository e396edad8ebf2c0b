"""Readers of SugarCrepe and ARO, on small files in the official formats."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sparc_vlm.datasets import Aro, SugarCrepe
from sparc_vlm.datasets.kinds import KINDS
from sparc_vlm.datasets.readers.aro_relations import SYMMETRIC
from sparc_vlm.datasets.readers.foils import SUGAR_CREPE
from sparc_vlm.evaluation import Foils
from sparc_vlm.registry import DATASETS
from tests.test_datasets.made import picture, write_images
from tests.test_evaluation.colour_world import ColourModel

ONE, TWO = '000000000139.jpg', '000000000285.jpg'


def sugar(filename, caption, negative):
    return {
        'filename': filename,
        'caption': caption,
        'negative_caption': negative,
    }


def write_sugar_crepe(root, kinds=SUGAR_CREPE):
    root.mkdir(exist_ok=True)
    for kind in kinds:
        rows = {
            '0': sugar(ONE, 'A red bus. ', f'A {kind} bus.'),
            '1': sugar(TWO, f'A {kind} bear.', 'A bear.'),
            '4': sugar(ONE, 'Two signs', f'{kind} signs'),
        }
        (root / f'{kind}.json').write_text(json.dumps(rows, indent=4))
    write_images(root / 'val2017.zip', [f'val2017/{ONE}', f'val2017/{TWO}'])
    return root


def test_sugar_crepe(tmp_path):
    source = SugarCrepe(write_sugar_crepe(tmp_path))
    assert [source.key(i) for i in range(len(source))] == [ONE, TWO]
    assert source.captions(0) == ['A red bus.', 'Two signs']
    foils = source.foils(0)
    assert [foil['kind'] for foil in foils[::2]] == SUGAR_CREPE
    assert foils[1] == {
        'kind': 'add_att',
        'caption': 'Two signs',
        'foil': 'add_att signs',
    }
    assert (np.asarray(source.image(1)) == np.asarray(picture(1))).all()
    assert source.reading['skipped_rows'] == 0
    result = Foils(source).run(ColourModel())
    assert len(result.metrics) == 3 * 8 and len(result.samples) == 21
    assert result.chance['accuracy/swap_obj'] == 50


def test_some_kinds_and_pictures_elsewhere(tmp_path, log):
    root = write_sugar_crepe(tmp_path / 'a', ['swap_att', 'add_obj'])
    source = SugarCrepe(root)
    (said,) = [line for line in log if 'lacks' in line]
    assert 'swap_obj' in said and 'the other 2 kinds' in said
    assert len(source.foils(1)) == 2
    (root / 'val2017.zip').rename(tmp_path / 'coco.zip')
    config = KINDS['foils']['sugarcrepe'](
        str(root), {'images': str(tmp_path / 'coco.zip'), 'kinds': ['add_obj']}
    )
    one = DATASETS.build(config)
    assert {foil['kind'] for foil in one.foils(0)} == {'add_obj'}
    assert one.image(0).size == (24, 24)
    with pytest.raises(FileNotFoundError, match='no images in .*val2017'):
        SugarCrepe(root)
    with pytest.raises(FileNotFoundError, match='swap_obj.json: no such'):
        SugarCrepe(root, kinds=['swap_obj'])
    with pytest.raises(ValueError, match="swap_att, swap_obj, not 'swap'"):
        SugarCrepe(root, kinds=['swap'])
    with pytest.raises(FileNotFoundError, match='looked for add_att.json'):
        SugarCrepe(tmp_path)


def test_rows_that_are_wrong_are_counted(tmp_path):
    root = write_sugar_crepe(tmp_path, ['swap_att'])
    rows = {
        '0': sugar(ONE, 'A bus', 'A car'),
        '1': sugar(None, 'A bus', 'A car'),
        '2': sugar(ONE, 'A bus', None),
        '3': sugar(ONE, ' ', 'A car'),
        '4': 'A bus',
    }
    (root / 'swap_att.json').write_text(json.dumps(rows))
    source = SugarCrepe(root, kinds=['swap_att'])
    assert len(source) == 1 and len(source.foils(0)) == 1
    assert source.reading['skipped_rows'] == 4
    for wrong, said in (('[]', 'not an object'), ('{}', 'has no caption')):
        (root / 'swap_att.json').write_text(wrong)
        with pytest.raises(ValueError, match=said):
            SugarCrepe(root, kinds=['swap_att'])


def case(image, box, true, false, **kind):
    sides = dict(zip('xywh', box, strict=True))
    return {
        'image_id': image.partition('.')[0],
        'image_path': image,
        **{f'bbox_{side}': value for side, value in sides.items()},
        'true_caption': true,
        'false_caption': false,
        **kind,
    }


def write_aro(root):
    """Three relations, one of which holds both ways, and some attributes."""
    box, other = (4, 8, 16, 10), (0, 0, 24, 30)
    relations = [
        case('1.jpg', box, 'the dog is on the mat', 'the mat is on the dog'),
        case('1.jpg', box, 'a is under b', 'b is under a'),
        case('1.jpg', other, 'a is near b', 'b is near a'),
        case('1.jpg', other, 'c is on d', 'd is on c'),
        case('1.jpg', (1, 1, 0, 5), 'c is on d', 'd is on c'),
        case('1.jpg', box, 'c is on d', None),
    ]
    names = ['on', 'under', 'near', 'on', 'on', 'on']
    relations = [
        {**row, 'relation_name': name}
        for row, name in zip(relations, names, strict=True)
    ]
    text = 'the {} dog and the {} mat'
    attributes = [
        case(
            '1.jpg',
            (number, 0, 9, 9),
            text.format(first, second),
            text.format(second, first),
            attributes=[first, second],
        )
        for first, second, count in (('red', 'old', 25), ('old', 'red', 24))
        for number in range(count)
    ]
    for part, rows in (('relation', relations), ('attribution', attributes)):
        path = root / f'visual_genome_{part}.json'
        path.write_text(json.dumps(rows))
    write_images(root / 'images', ['0.jpg', '1.jpg'])
    return root


def test_relations(tmp_path):
    source = Aro(write_aro(tmp_path))
    assert [source.key(i) for i in range(len(source))] == [
        '1.jpg@4,8,16,10',
        '1.jpg@0,0,24,30',
    ]
    assert source.foils(0) == [
        {
            'kind': 'on',
            'caption': 'the dog is on the mat',
            'foil': 'the mat is on the dog',
        },
        {'kind': 'under', 'caption': 'a is under b', 'foil': 'b is under a'},
    ]
    assert len(source.foils(1)) == 1
    # Both crops are of one picture, right or wrong together.
    assert [source.picture(0), source.picture(1)] == ['1.jpg', '1.jpg']
    whole = np.asarray(picture(1))
    assert (np.asarray(source.image(0)) == whole[8:18, 4:20]).all()
    # What is outside the picture is black, as the authors' crops have it.
    below = np.asarray(source.image(1))
    assert below.shape == (30, 24, 3) and not below[24:].any()
    kind, data = source.file(0)
    assert kind == 'png' and len(data) < 3000
    # A box without width, and a missing text.
    assert source.reading['skipped_rows'] == 2
    every = Aro(tmp_path, keep_all=True)
    assert [foil['kind'] for foil in every.foils(1)] == ['near', 'on']


def test_attributes(tmp_path):
    write_aro(tmp_path)
    build = KINDS['foils']['aro-attribution']
    source = DATASETS.build(build(str(tmp_path), {}))
    assert len(source) == 25
    assert source.foils(3)[0] == {
        'kind': 'red_old',
        'caption': 'the red dog and the old mat',
        'foil': 'the old dog and the red mat',
    }
    every = Aro(tmp_path, 'attribution', keep_all=True)
    assert len(every) == 25 and len(every.foils(0)) == 2
    result = Foils(every).run(ColourModel())
    assert set(result.metrics) >= {'accuracy/red_old', 'accuracy/old_red'}


def test_aro_mistakes(tmp_path):
    build = KINDS['foils']['aro-relation']
    with pytest.raises(FileNotFoundError, match='nothing at'):
        build(str(tmp_path / 'none'), {})
    with pytest.raises(FileNotFoundError, match='visual_genome_relation.json'):
        DATASETS.build(build(str(tmp_path), {}))
    with pytest.raises(ValueError, match="or 'attribution', not 'order'"):
        Aro(tmp_path, 'order')
    path = tmp_path / 'visual_genome_relation.json'
    path.write_text('{}')
    with pytest.raises(ValueError, match='not a list of cases'):
        Aro(tmp_path)
    write_images(tmp_path / 'vgr_vga_images.zip', ['images/1.jpg'])
    path.write_text('[1, {"relation_name": "on"}]')
    with pytest.raises(ValueError, match='has no caption with a foil'):
        Aro(tmp_path)


def test_relations_that_are_left_out():
    assert {'next to', 'near', 'sitting in front of'} <= SYMMETRIC
    assert not {'on', 'under', 'to the left of', 'riding'} & SYMMETRIC
    assert not any('\n' in name or '  ' in name for name in SYMMETRIC)
