"""Several pictures as one: boxes, words, and what is known of them."""

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import DefaultScope

from sparc_vlm.datasets.report import new_report
from sparc_vlm.detection.words.mosaic import GridMosaic
from sparc_vlm.errors import UsageError
from tests.test_detection.words_made import (
    LOAD,
    dataset,
    write_coco,
    write_visual_genome,
)

COLOURS = {
    'red box': (0, 0, 255),
    'blue box': (255, 0, 0),
    'green box': (0, 128, 0),
    'black box': (0, 0, 0),
}
"""Blue, green and red of each word."""


@pytest.fixture
def pictures(tmp_path):
    file, images = tmp_path / 'instances.json', tmp_path / 'images'
    write_coco(file, images, 12)
    return dataset(annotations=file, images=str(images))


def mosaic(pictures, indices, size=192):
    first, *others = [pictures[index] for index in indices]
    return GridMosaic(size)(first | dict(mix_results=others))


@pytest.mark.parametrize('side', [1, 2, 3])
def test_each_box_shows_its_word(pictures, side):
    found = mosaic(pictures, range(side * side))
    assert found['img'].shape == (192, 192, 3)
    labels = found['gt_bboxes_labels']
    boxes = found['gt_bboxes'].tensor
    assert len(boxes) == len(labels)
    assert len(boxes) == sum(n % 4 + 1 for n in range(side * side))
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).int()
    for label, (x, y) in zip(labels, centres.tolist(), strict=True):
        near = found['img'][y, x].astype(int) - COLOURS[found['words'][label]]
        assert abs(near).max() < 12


def test_tiles_keep_their_proportions(pictures):
    found = mosaic(pictures, [0, 1, 2, 3])
    # 64 x 48 becomes 96 x 72 in a tile of 96, the rest of it is grey
    assert (found['img'][73:96] == 114).all()
    assert (found['img'][:71, :96] != 114).any()
    first = found['gt_bboxes'].tensor[0]
    torch.testing.assert_close(first, torch.tensor([6.0, 9, 21, 30]))


def tile(words, labels, absent=(), incomplete=(), size=40):
    boxes = torch.tensor([[0, 0, size / 2, size / 2]] * len(labels))
    return dict(
        img=np.zeros((40, 40, 3), np.uint8),
        gt_bboxes=HorizontalBoxes(boxes.view(-1, 4).float()),
        gt_bboxes_labels=np.array(labels, dtype=np.int64),
        words=tuple(words),
        absent=tuple(absent),
        incomplete=tuple(incomplete),
        vocabularies=(words,),
        report=new_report(pairs=1) | dict(examples=['x']),
    )


def test_words_and_what_is_known_of_them_are_joined():
    tiles = [
        tile('ab', [0, 1], absent='c'),
        tile('bc', [1, 0, 1]),
        tile('', [], absent='d', incomplete='e'),
        tile('a', [0], absent='d'),
    ]
    found = GridMosaic(80)(tiles[0] | dict(mix_results=tiles[1:]))
    assert found['words'] == ('a', 'b', 'c')
    assert found['gt_bboxes_labels'].tolist() == [0, 1, 2, 1, 2, 0]
    assert found['absent'] == ('c', 'd', 'd')
    assert found['incomplete'] == ('e',)
    assert len(found['vocabularies']) == 4
    assert found['report']['pairs'] == 4
    assert found['report']['examples'] == ['x'] * 4


def test_boxes_too_small_to_see_are_dropped_and_not_forgotten():
    tiles = [tile('ab', [0, 1], size=40) for _ in range(4)]
    tiles[2] = tile('b', [0], size=3)
    found = GridMosaic(40)(tiles[0] | dict(mix_results=tiles[1:]))
    assert len(found['gt_bboxes']) == 6
    assert found['incomplete'] == ('b',)


def test_other_pictures_are_different_ones(pictures):
    np.random.seed(0)
    counts = set()
    for _ in range(40):
        others = GridMosaic(64).get_indexes(pictures)
        assert len(others) == len(set(others))
        counts.add(len(others))
    assert counts == {0, 3, 8}
    few = GridMosaic(64, sizes=(3,), probabilities=(1,)).get_indexes(range(2))
    assert len(few) == 8


def test_probabilities_must_fit():
    with pytest.raises(UsageError, match='one for each'):
        GridMosaic(64, sizes=(1, 2), probabilities=(1.0,))
    with pytest.raises(UsageError, match='add up to 1'):
        GridMosaic(64, sizes=(1, 2), probabilities=(0.9, 0.2))


def test_several_data_sets_in_one_picture(tmp_path):
    """Objects365 and Visual Genome: negatives come from both vocabularies."""
    write_coco(tmp_path / 'o365.json', tmp_path / 'o365')
    write_visual_genome(tmp_path / 'vg')
    sets = [
        dict(
            annotations=tmp_path / 'o365.json', images=str(tmp_path / 'o365')
        ),
        dict(
            annotations=tmp_path / 'vg' / 'objects.json',
            image_data=tmp_path / 'vg' / 'image_data.json',
            images=str(tmp_path / 'vg'),
        ),
    ]
    typed = dict(type='sparc_vlm.WordBoxes', pipeline=LOAD)
    with DefaultScope.overwrite_default_scope('mmdet'):
        mixed = DATASETS.build(
            dict(
                type='MultiImageMixDataset',
                dataset=dict(
                    type='ConcatDataset', datasets=[typed | s for s in sets]
                ),
                pipeline=[
                    dict(
                        type='sparc_vlm.GridMosaic',
                        size=64,
                        sizes=(2,),
                        probabilities=(1,),
                    ),
                    dict(type='sparc_vlm.SampleWords', num_negatives=4),
                ],
            )
        )
    np.random.seed(0)
    found = [mixed[index] for index in range(len(mixed)) for _ in range(3)]
    assert len(mixed) == 7
    words = {word for each in found for word in each['words']}
    assert words == {'red box', 'blue box', 'green box', 'black box', 'cup'}
    for each in found:
        shown = [each['words'][n] for n in each['gt_bboxes_labels']]
        assert set(each['words'][: len(set(shown))]) == set(shown)
        assert each['vocabularies'][0] in [
            one.vocabulary for one in mixed.dataset.datasets
        ]
