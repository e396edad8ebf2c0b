from dataclasses import replace

import numpy as np
import pytest
import torch

from sparc_vlm.evaluation import Pointing, Segmentation
from sparc_vlm.evaluation.overlap import (
    BACKGROUND,
    VOID,
    Overlap,
    among_all,
    given_classes,
)
from sparc_vlm.evaluation.patch_labels import enlarge, label_patches
from tests.test_evaluation.colour_world import (
    Board,
    Boards,
    ColourModel,
    some_boards,
)


def test_given_classes_merges_repeats_and_drops_the_unseen():
    labels = np.array([[0, 1, 3], [4, 4, -1]])
    classes, truth = given_classes(labels, ['cup', 'hat', 'dog', 'cup'])
    assert classes == ['cup', 'dog']
    assert truth.tolist() == [[BACKGROUND, 0, 1], [0, 0, VOID]]


def test_given_classes_of_unsigned_labels():
    labels = np.array([[0, 2]], np.uint8)
    assert given_classes(labels, ['a', 'b'])[1].tolist() == [[BACKGROUND, 0]]


def test_label_without_a_name_is_refused():
    with pytest.raises(ValueError, match='label 3 has no name'):
        given_classes(np.array([[3]]), ['a', 'b'])


def test_a_class_among_all():
    truth = np.array([[BACKGROUND, 0, 1], [0, 0, VOID]])
    everywhere = among_all(['cup', 'dog'], truth, ['dog', 'hat', 'cup'])
    assert everywhere.tolist() == [[BACKGROUND, 2, 0], [2, 2, VOID]]
    with pytest.raises(ValueError, match="'cup' is not among the 1 classes"):
        among_all(['cup', 'dog'], truth, ['dog'])


def test_overlap_of_classes_that_a_picture_does_not_show():
    """The second picture's false hat counts against hat, in both."""
    names = ['cup', 'hat', 'dog']
    overlap = Overlap(count_background=False)
    assert overlap.add(
        np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, VOID]]), names
    ) == pytest.approx({'cup': 1 / 2, 'hat': 1 / 2})
    assert overlap.add(
        np.array([[1, 2, 0, 1]]), np.array([[0, 0, 0, BACKGROUND]]), names
    ) == pytest.approx({'cup': 1 / 3})
    # Cup: 1 + 1 right of 2 + 3 pixels; hat: 1 right of 1 + 1 + 1 pixels.
    # Dog is never shown, and the pixel that it took counts against cup only.
    assert overlap.class_mean == pytest.approx(100 * (2 / 5 + 1 / 3) / 2)
    assert overlap.picture_mean == pytest.approx(100 * (1 / 2 + 1 / 3) / 2)


def test_overlap_by_hand():
    truth = np.array([[0, 0, 1], [BACKGROUND, BACKGROUND, VOID]])
    predicted = np.array([[0, 1, 1], [1, 0, 0]])
    full = Overlap(count_background=True)
    # Class a: 1 right, 2 true, 2 predicted; b: 1 right, 1 true, 3 predicted.
    assert full.add(predicted, truth, ['a', 'b']) == pytest.approx(
        {'a': 1 / 3, 'b': 1 / 3}
    )
    foreground = Overlap(count_background=False)
    assert foreground.add(predicted, truth, ['a', 'b']) == pytest.approx(
        {'a': 1 / 2, 'b': 1 / 2}
    )
    # A second picture shows b alone, and right; classes add up pixels.
    only_b = np.array([[0, 0]])
    foreground.add(only_b, only_b, ['b'])
    assert foreground.class_mean == pytest.approx(100 * (1 / 2 + 3 / 4) / 2)
    assert foreground.picture_mean == pytest.approx(100 * (1 / 2 + 1) / 2)


def slow_iou(predicted, truth, count_background):
    """Pixel by pixel, as sets."""
    ious = []
    for number in sorted(set(truth[truth >= 0].tolist())):
        counted = (truth >= (BACKGROUND if count_background else 0)).nonzero()
        places = set(zip(*counted, strict=True))
        is_true = {p for p in places if truth[p] == number}
        is_said = {p for p in places if predicted[p] == number}
        ious.append(len(is_true & is_said) / len(is_true | is_said))
    return ious


@pytest.mark.parametrize('count_background', [True, False])
def test_overlap_agrees_with_sets(count_background):
    random = np.random.default_rng(0)
    for _ in range(20):
        truth = random.integers(-2, 3, size=(5, 7))
        truth[0, :3] = range(3)
        predicted = random.integers(0, 3, size=(5, 7))
        overlap = Overlap(count_background)
        found = overlap.add(predicted, truth, ['a', 'b', 'c'])
        assert list(found.values()) == pytest.approx(
            slow_iou(predicted, truth, count_background)
        )


def test_enlarge_takes_the_patch_under_the_pixel():
    labels = np.array([[0, 1, 2]])
    assert enlarge(labels, (2, 6)).tolist() == [[0, 0, 1, 1, 2, 2]] * 2
    assert enlarge(labels, (1, 5)).tolist() == [[0, 0, 1, 2, 2]]


def test_nearest_is_by_cosine_not_by_length():
    patches = torch.tensor([[1.0, 0.0], [0.4, 0.5]])
    texts = torch.tensor([[100.0, 0.0], [0.0, 0.01]])
    labels = label_patches(patches, texts, (1, 2), (1, 2))
    assert labels.tolist() == [[0, 1]]


def test_autocast_changes_nothing():
    patches = torch.tensor([[1.0, 1.001], [1.001, 1.0]])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        labels = label_patches(patches, torch.eye(2), (1, 2), (1, 2))
    assert labels.tolist() == [[1, 0]]


def test_bilinear_moves_the_border():
    # The first patch is sure, the second barely decided: the margins 1 and
    # -0.09 meet at 0.917 of the way between the patches' centres, 2 and 6.
    patches = torch.tensor([[1.0, 0.0], [0.66, 0.75]])
    texts = torch.eye(2)
    nearest = label_patches(patches, texts, (1, 2), (1, 8), 'nearest')
    assert nearest.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    smooth = label_patches(patches, texts, (1, 2), (1, 8), 'bilinear')
    assert smooth.tolist() == [[0, 0, 0, 0, 0, 0, 1, 1]]


def test_a_model_that_knows_everything():
    """Every cell coloured, so that no background pixel counts against it."""
    full = [['ruby', 'sea'], ['sea', 'sun']]
    result = Segmentation(Boards([Board(full, []), Board(full, [])])).run(
        ColourModel((2, 2))
    )
    assert all(value == 100 for value in result.metrics.values())
    assert len(result.metrics) == 8
    assert set(result.chance) == set(result.metrics)
    assert 0 < result.chance['miou'] < 60


def test_dense_and_patches_are_told_apart():
    full = [['ruby', 'leaf'], ['sea', 'sun']]
    result = Segmentation(Boards([Board(full, [])])).run(
        ColourModel((2, 2), dense_shift=1)
    )
    assert result.metrics['miou_patches'] == 100
    assert result.metrics['miou'] == 0
    assert result.samples[0]['classes']['sun'] == {
        'miou': 0,
        'miou_patches': 100,
    }


def test_background_counts_against_miou_but_not_against_fg():
    """Grey patches tie, and go to the first class."""
    source = Boards([Board([['ruby', ''], ['sea', '']], [])])
    result = Segmentation(source).run(ColourModel((2, 2)))
    assert result.metrics['miou_fg'] == 100
    assert result.metrics['miou'] == pytest.approx(100 * (1 / 3 + 1) / 2)


class Classed(Boards):
    """Boards that know all nouns, in this order."""

    classes = ('leaf', 'ruby', 'sea', 'sun')


class Torn(ColourModel):
    """`dense` looks most like the next noun, and then like its own."""

    def encode_image(self, images):
        found = super().encode_image(images)
        dense = found.patches + 2 * found.patches.roll(1, -1)
        return replace(found, dense=dense)


def test_all_classes_of_the_dataset_as_candidates():
    """Right among the picture's own classes, and wrong among all.

    Ruby looks most like leaf, and sea like sun, neither of which is there.
    """
    source = Classed([Board([['ruby', 'ruby'], ['ruby', 'sea']], [])])
    model = Torn((2, 2))
    result = Segmentation(source, candidates='both').run(model)
    assert result.metrics['miou'] == 100
    assert result.metrics['miou_all'] == 0
    assert result.metrics['miou_patches_all'] == 100
    assert len(result.metrics) == 16
    assert list(result.chance) == list(result.metrics)
    assert result.chance['miou_all'] < result.chance['miou']
    assert result.samples[0]['classes']['ruby'] == {
        'miou': 100,
        'miou_patches': 100,
        'miou_all': 0,
        'miou_patches_all': 100,
    }
    alone = Segmentation(source, candidates='all').run(model)
    wanted = {k: v for k, v in result.metrics.items() if k.endswith('_all')}
    assert alone.metrics == wanted
    assert alone.chance == {k: result.chance[k] for k in wanted}
    assert set(alone.samples[0]) == {'key', 'classes', 'pixels'} | {
        f'miou{a}_image{b}_all' for a in ('', '_fg') for b in ('', '_patches')
    }
    given = Segmentation(source).run(model)
    assert given.metrics == {
        k: v for k, v in result.metrics.items() if k not in wanted
    }


def test_a_class_that_is_not_there_takes_its_share():
    """Among all classes by hand: ruby keeps 2 of 3 cells, sea its one.

    Given ruby and sea alone, the cell that looks like leaf goes to the one
    that it looks like next.
    """

    class Once(ColourModel):
        def encode_image(self, images):
            found = super().encode_image(images)
            found.dense[0, 0] = torch.tensor([1.0, 2.0, 0.0, 0.0])
            return found

    source = Classed([Board([['ruby', 'ruby'], ['ruby', 'sea']], [])])
    result = Segmentation(source, candidates='both').run(Once((2, 2)))
    assert result.metrics['miou'] == 100
    assert result.metrics['miou_all'] == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert result.samples[0]['classes']['sea']['miou_all'] == 100


def test_void_is_not_scored():
    class Edged(Classed):
        def segments(self, index):
            labels, names = super().segments(index)
            labels[:, :8] = -1
            return labels, names

    source = Edged([Board([['sun', 'ruby'], ['', 'sea']], [])])
    result = Segmentation(source, candidates='both').run(ColourModel((2, 2)))
    assert all(value == 100 for value in result.metrics.values())


def test_broken_segments_are_counted():
    class Damaged(Boards):
        def segments(self, index):
            if index < 2:
                raise OSError('cut off')
            return super().segments(index)

    full = Board([['ruby']], [])
    result = Segmentation(Damaged([full] * 3)).run(ColourModel((1, 1)))
    assert result.skipped == {'pictures with broken segments': 2}
    assert len(result.samples) == 1
    with pytest.raises(ValueError, match='board-0: cut off'):
        Segmentation(Damaged([full] * 2)).run(ColourModel((1, 1)))


def test_class_mean_and_picture_mean_differ():
    """Ruby is always right alone, and once half wrong beside sea."""
    source = Boards(
        [Board([['ruby', 'ruby']], []), Board([['sea', 'ruby']], [])]
    )
    model = ColourModel((1, 2), dense_shift=2)
    result = Segmentation(source).run(model)
    # Shifted by two, ruby looks like sea and the other way round.
    assert result.metrics['miou_image'] == pytest.approx((100 + 0) / 2)
    # Ruby: 2 of 2 + 0 of 2 pixels of one cell; sea: none.
    assert result.metrics['miou'] == pytest.approx(100 * (2 / 4 + 0) / 2)


def test_chance_is_what_a_random_labelling_scores():
    """Two classes, half each: IoU 1/3 in the limit, 1/2 right."""
    half = [['ruby'] * 8 + ['sea'] * 8] * 16
    source = Boards([Board(half, []) for _ in range(20)], cell=1)
    result = Segmentation(source, chance_draws=10).run(ColourModel((16, 16)))
    assert result.chance['miou'] == pytest.approx(100 / 3, abs=1)
    again = Segmentation(source, chance_draws=10).run(ColourModel((16, 16)))
    assert again.chance == result.chance


def test_broken_and_empty_pictures_are_counted():
    source = some_boards(5)
    source.boards[0].broken = True
    source.boards[3].cells = [[''] * 4] * 4
    result = Segmentation(source, batch_size=2).run(ColourModel())
    assert [s['key'] for s in result.samples] == [
        'board-1',
        'board-2',
        'board-4',
    ]
    assert result.skipped == {
        'broken pictures': 1,
        'pictures without a foreground': 1,
    }


def test_class_names_are_encoded_once_with_the_prompt():
    asked = []

    class Listening(ColourModel):
        def encode_text(self, texts):
            asked.extend(texts)
            return super().encode_text(texts)

    task = Segmentation(some_boards(8), batch_size=2, prompt='photo of {} .')
    task.run(Listening())
    assert sorted(asked) == sorted(
        f'photo of {noun} .' for noun in ('ruby', 'leaf', 'sea', 'sun')
    )


def test_a_prompt_may_have_other_braces():
    task = Segmentation(some_boards(2), prompt='a {} {of} {')
    asked = []

    class Listening(ColourModel):
        def encode_text(self, texts):
            asked.extend(texts)
            return super().encode_text(texts)

    task.run(Listening())
    assert 'a ruby {of} {' in asked


def test_texts_that_are_not_finite_are_said():
    class Diverged(ColourModel):
        def encode_text(self, texts):
            found = super().encode_text(texts)
            nothing = float('nan')
            return replace(
                found, text=found.text * nothing, tokens=found.tokens * nothing
            )

    with pytest.raises(ValueError, match='class names that are not finite'):
        Segmentation(some_boards(2)).run(Diverged())
    with pytest.raises(ValueError, match='tokens that are not finite'):
        Pointing(some_boards(2)).run(Diverged())


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match='chance_draws must be a whole'):
        Segmentation(some_boards(1), chance_draws=0)
    with pytest.raises(ValueError, match='list has no segments'):
        Segmentation([1, 2])
    with pytest.raises(ValueError, match="needs a '{}'"):
        Segmentation(some_boards(1), prompt='a photo')
    with pytest.raises(ValueError, match="not 'cubic'"):
        Segmentation(some_boards(1), upsample='cubic')
    with pytest.raises(ValueError, match="'all' or 'both', not 'some'"):
        Segmentation(some_boards(1), candidates='some')
    with pytest.raises(ValueError, match='Boards does not say which classes'):
        Segmentation(some_boards(1), candidates='all')
    source = Boards([Board([['']], [])])
    with pytest.raises(ValueError, match='no picture has a foreground'):
        Segmentation(source).run(ColourModel((1, 1)))
