import numpy as np
import pytest
import torch

from sparc_vlm.evaluation import PatchProbe
from sparc_vlm.evaluation.overlap import VOID
from sparc_vlm.evaluation.patch_truth import Truths, majority
from sparc_vlm.registry import TASKS
from tests.test_evaluation.colour_world import (
    NOUNS,
    Board,
    Boards,
    ColourModel,
    some_boards,
)

# few and large: tiny penalties on what can be told apart take long
QUICK = {'penalties': (0.01, 1.0)}


def slow_majority(truth, grid):
    """Pixel by pixel."""
    height, width = truth.shape
    votes = [[] for _ in range(grid[0] * grid[1])]
    for row in range(height):
        for column in range(width):
            patch = int((row + 0.5) * grid[0] / height) * grid[1]
            patch += int((column + 0.5) * grid[1] / width)
            if truth[row, column] >= 0:
                votes[patch].append(int(truth[row, column]))
    return [max(sorted(set(v)), key=v.count) if v else VOID for v in votes]


def test_majority_by_hand():
    truth = np.array([[0, 0, 5, 7], [0, 2, VOID, 7], [VOID, VOID, 2, 0]])
    assert majority(truth[:2], (1, 2)).tolist() == [0, 7]
    assert majority(truth[2:], (1, 2)).tolist() == [VOID, 0]
    assert majority(np.full((2, 2), VOID), (1, 2)).tolist() == [VOID, VOID]
    # a map smaller than the grid leaves patches without a pixel
    assert majority(np.array([[3]]), (1, 2)).tolist() == [VOID, 3]


def test_majority_agrees_with_counting_pixels():
    random = np.random.default_rng(0)
    for grid in ((2, 3), (3, 3), (1, 4)):
        truth = random.integers(-2, 4, (7, 9))
        assert majority(truth, grid).tolist() == slow_majority(truth, grid)


def test_truths_grow_with_training_pictures_alone():
    source = some_boards(4)
    truths = Truths()
    first = truths.read(source, 0, grow=True)
    names = source.segments(0)[1]
    assert list(truths.classes) == ['background', *names]
    labels, _ = source.segments(0)
    assert (first == labels).all()
    known = dict(truths.classes)
    for index in range(1, 4):
        truth = truths.read(source, index, grow=False)
        labels, names = source.segments(index)
        for number, name in enumerate(names, 1):
            assert (truth[labels == number] == known.get(name, VOID)).all()
        assert (truth[labels == 0] == 0).all()
    assert truths.classes == known
    assert truths.unknown == set(NOUNS) - set(known)


def test_a_model_whose_patches_show_the_class():
    task = TASKS.build(
        dict(
            type='PatchProbe',
            dataset=some_boards(6, seed=1),
            train=some_boards(20),
            batch_size=4,
            **QUICK,
        )
    )
    model = ColourModel()
    result = task.run(model)
    assert model.largest_batch == 4
    assert result.metrics == dict.fromkeys(
        ('miou', 'miou_fg', 'miou_image', 'patch_top1'), 100
    )
    assert set(result.chance) == set(result.metrics)
    assert result.per_class == dict.fromkeys(
        sorted(['background', *NOUNS]), 100
    )
    sample = result.samples[0]
    assert sample['key'] == 'board-0' and sample['patches'] == 16
    assert sample['classes']['background'] == {'miou': 100}


def test_numbers_by_hand():
    """The model cannot see the sun, whose patches look like the ground."""

    class Blind(ColourModel):
        def encode_image(self, images):
            embeddings = super().encode_image(images)
            embeddings.patches[..., NOUNS.index('sun')] = 0
            return embeddings

    train = Boards([Board([['ruby', ''], ['', '']], [])] * 4)
    train.boards += [Board([['sun', ''], ['', '']], [])] * 4
    test = Boards(
        [Board([['ruby', 'sun'], ['', '']], []), Board([['ruby', '']], [])]
    )
    model = Blind((2, 2))
    result = PatchProbe(test, train, patches_per_image=4, **QUICK).run(model)
    # background: 2 of 3 and 1 of 1 cells of 8 x 8, of 16 pixels wide ones
    ground = (2 + 1) / (3 + 1)
    assert result.per_class == pytest.approx(
        {'background': 100 * ground, 'ruby': 100, 'sun': 0}
    )
    assert result.metrics == pytest.approx(
        {
            'miou': 100 * (ground + 1 + 0) / 3,
            'miou_fg': 50,
            'miou_image': 100 * ((2 / 3 + 1 + 0) / 3 + 1) / 2,
            # the second picture is one cell high: two patches a cell
            'patch_top1': 100 * 7 / 8,
        }
    )
    # all background: 2 of 4 cells, and 1 of 2
    assert result.chance == pytest.approx(
        {
            'miou': 100 * (3 / 6) / 3,
            'miou_fg': 0,
            'miou_image': 100 * ((2 / 4) / 3 + (1 / 2) / 2) / 2,
            'patch_top1': 100 * (2 + 2) / 8,
        }
    )


def test_dense_and_patches_are_told_apart():
    train, test = some_boards(12), some_boards(4, seed=2)

    class Split(ColourModel):
        def encode_image(self, images):
            embeddings = super().encode_image(images)
            embeddings.dense[:] = 0.5
            return embeddings

    sees = PatchProbe(test, train, features='patches', **QUICK).run(Split())
    blind = PatchProbe(test, train, features='dense', **QUICK).run(Split())
    assert sees.metrics['miou'] == 100
    assert blind.metrics == pytest.approx(blind.chance)


def test_what_cannot_be_used_is_counted():
    train, test = some_boards(12), some_boards(4, seed=2)
    train.boards[1].broken = test.boards[2].broken = True
    plain = test.segments

    def segments(index):
        if index == 0:
            raise OSError('cut off')
        return plain(index)

    test.segments = segments
    test.boards[3].cells[0][0] = 'sun'
    for board in train.boards:
        board.cells = [
            ['' if cell == 'sun' else cell for cell in row]
            for row in board.cells
        ]
    result = PatchProbe(test, train, batch_size=2, **QUICK).run(ColourModel())
    assert result.skipped == {
        'broken pictures': 1,
        'broken training pictures': 1,
        'pictures with broken segments': 1,
        'classes that no training picture shows': 1,
    }
    assert [s['key'] for s in result.samples] == ['board-1', 'board-3']
    # pixels of the class that nobody could learn are left out
    assert 'sun' not in result.per_class and result.metrics['miou'] == 100


def test_draws_of_patches_depend_on_the_seed_alone():
    train, test = some_boards(8), some_boards(4, seed=2)

    class Noisy(ColourModel):
        def encode_image(self, images):
            embeddings = super().encode_image(images)
            noise = torch.Generator().manual_seed(len(images))
            size = embeddings.patches.shape
            embeddings.patches.add_(torch.randn(size, generator=noise))
            return embeddings

    def measure(seed):
        task = PatchProbe(test, train, patches_per_image=3, seed=seed, **QUICK)
        return task.run(Noisy()).metrics

    assert measure(0) == measure(0)
    assert measure(0) != measure(1)


def test_sources_and_options_that_cannot_be_used():
    boards = some_boards(4)
    plain = Boards([Board([['', '']], [])] * 3)
    with pytest.raises(ValueError, match='show 1 classes'):
        PatchProbe(boards, plain).run(ColourModel((1, 2)))

    class NoSegments:
        __len__ = lambda self: 3  # noqa: E731

    with pytest.raises(ValueError, match='training pictures have no segm'):
        PatchProbe(boards, NoSegments())
    with pytest.raises(ValueError, match='NoSegments has no segments'):
        PatchProbe(NoSegments(), boards)
    with pytest.raises(ValueError, match="'patches' or 'dense', not 'image'"):
        PatchProbe(boards, boards, features='image')
    with pytest.raises(ValueError, match='must be at least 1'):
        PatchProbe(boards, boards, patches_per_image=0)
    with pytest.raises(ValueError, match='held_out a share'):
        PatchProbe(boards, boards, held_out=0)
