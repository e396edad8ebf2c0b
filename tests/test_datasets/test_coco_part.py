"""A part of a folder in COCO's layout is what the whole has, but smaller."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from sparc_vlm.datasets import CocoCaptions
from sparc_vlm.datasets.coco_part import CocoPart, write_coco_part
from sparc_vlm.datasets.source import find_coco
from sparc_vlm.errors import UsageError
from tests.test_datasets.made import write_coco


@pytest.fixture
def whole(tmp_path):
    write_coco(tmp_path / 'whole', count=6)
    return tmp_path / 'whole'


def opened(folder, split):
    return CocoCaptions(
        **{
            key: value
            for key, value in find_coco(str(folder), split).items()
            if key != 'type'
        }
    )


def written(folder, kind, name):
    path = folder / f'annotations/{kind}_{name}.json'
    return json.loads(path.read_text())


def test_all_pictures_at_half_the_size(whole, tmp_path):
    part = CocoPart('train', 6, longer_side=12)
    counts = write_coco_part(whole, tmp_path / 'out', 'val', part)
    before, after = opened(whole, 'train'), opened(tmp_path / 'out', 'val')
    assert counts['pictures'] == len(before) == len(after) == 6
    for index in range(6):
        assert after.captions(index) == before.captions(index)
        assert after.image(index).size == (12, 12)
        for old, new in zip(
            before.boxes(index), after.boxes(index), strict=True
        ):
            assert new['name'] == old['name']
            assert new['box'] == pytest.approx([v / 2 for v in old['box']])
        labels, names = after.segments(index)
        wanted, known = before.segments(index)
        assert list(names) == list(known)
        shrunk = wanted[1::2, 1::2]
        assert (labels == shrunk).mean() > 0.9
    large = written(whole, 'instances', 'train')['annotations']
    small = written(tmp_path / 'out', 'instances', 'val')['annotations']
    assert counts['objects'] == len(large)
    assert [row['area'] for row in small] == [row['area'] / 4 for row in large]


def test_small_pictures_stay_as_they_are(whole, tmp_path):
    part = CocoPart('train', 6)
    write_coco_part(whole, tmp_path / 'out', 'train', part)
    before, after = opened(whole, 'train'), opened(tmp_path / 'out', 'train')
    for index in range(6):
        pixels = np.asarray(after.image(index))
        assert np.array_equal(pixels, np.asarray(before.image(index)))


def test_parts_of_a_split_share_no_picture(whole, tmp_path):
    first, second = CocoPart('train', 4), CocoPart('train', 2, skip=4)
    write_coco_part(whole, tmp_path / 'out', 'train', first)
    write_coco_part(whole, tmp_path / 'out', 'val', second)
    names = [
        {row['id'] for row in written(tmp_path / 'out', kind, name)['images']}
        for name in ('train', 'val')
        for kind in ('instances', 'captions')
    ]
    assert names[0] == names[1] and names[2] == names[3]
    assert len(names[0]) == 4 and len(names[2]) == 2
    assert not names[0] & names[2]
    other = CocoPart('train', 4, seed=1)
    assert other.choose(list(range(50))) != first.choose(list(range(50)))


def test_what_is_there_is_not_written_again(whole, tmp_path):
    part = CocoPart('train', 3)
    first = write_coco_part(whole, tmp_path / 'out', 'train', part)
    archive = tmp_path / 'out/images_train.zip'
    stamp = archive.stat().st_mtime_ns
    again = write_coco_part(whole, tmp_path / 'out', 'train', part)
    assert again == first
    assert archive.stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match='write to another folder'):
        write_coco_part(whole, tmp_path / 'out', 'train', CocoPart('train', 4))


def test_broken_pictures_are_counted_and_left_out(whole, tmp_path):
    archive = whole / 'images_train.zip'
    with zipfile.ZipFile(archive) as there:
        there.extractall(whole / 'images_train')
    archive.unlink()
    (whole / 'images_train/3.png').write_bytes(b'no picture')
    part = CocoPart('train', 6)
    counts = write_coco_part(whole, tmp_path / 'out', 'train', part)
    assert counts['broken_images'] == 1
    assert counts['pictures'] == 5
    assert '3.png' in counts['examples'][0]
    assert len(opened(tmp_path / 'out', 'train')) == 5


def test_boxes_without_captions(whole, tmp_path):
    (whole / 'annotations/captions_train.json').unlink()
    part = CocoPart('train', 2)
    counts = write_coco_part(whole, tmp_path / 'out', 'train', part)
    assert counts['captions'] == 0
    assert not (tmp_path / 'out/annotations/captions_train.json').exists()


def test_too_few_pictures(whole, tmp_path):
    with pytest.raises(UsageError, match='6 pictures: too few for 5 after 2'):
        write_coco_part(
            whole, tmp_path / 'out', 'train', CocoPart('train', 5, skip=2)
        )
    assert not (tmp_path / 'out').exists()


def test_pictures_are_not_counted_from_the_end():
    with pytest.raises(UsageError, match='skip must be at least 0, got -1'):
        CocoPart('train', 1, skip=-1).choose([1, 2, 3])
