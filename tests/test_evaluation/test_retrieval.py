import pytest
import torch

from sparc_vlm.evaluation import Retrieval
from sparc_vlm.structures import ImageEmbeddings, TextEmbeddings
from tests.test_evaluation.colour_world import (
    Board,
    Boards,
    ColourModel,
    some_boards,
)


def board(noun, *captions):
    return Board([[noun, ''], ['', '']], list(captions))


def test_a_model_that_knows_everything():
    source = Boards(
        [
            board('ruby', 'a ruby', 'one ruby'),
            board('sea', 'a sea', 'one sea'),
            board('sun', 'a sun', 'one sun'),
        ]
    )
    result = Retrieval(source, batch_size=2, ks=(1, 2)).run(
        ColourModel((2, 2))
    )
    assert result.metrics == {
        'i2t_r1': 100.0,
        'i2t_r2': 100.0,
        't2i_r1': 100.0,
        't2i_r2': 100.0,
    }
    assert result.chance['t2i_r2'] == pytest.approx(200 / 3)
    # Two draws of six captions, two of them right: 1 - (4*3)/(6*5).
    assert result.chance['i2t_r2'] == pytest.approx(60)
    first = result.samples[0]
    assert first['key'] == first['top_caption_key'] == 'board-0'
    assert first['top_caption'] in ('a ruby', 'one ruby')
    assert first['t2i_ranks'] == [1, 1]


def test_hand_worked_case():
    """Captions of pictures 0 and 1 are swapped, one of picture 0 is right."""
    source = Boards(
        [
            board('ruby', 'a sea', 'a ruby'),
            board('sea', 'a ruby', 'a ruby'),
            board('sun', 'a sun', 'a sun'),
        ]
    )
    result = Retrieval(source, ks=(1,)).run(ColourModel((2, 2)))
    zero, one, two = result.samples
    # 'a ruby' three times among picture 0's best, one of them its own.
    assert zero['i2t_r1'] == pytest.approx(1 / 3)
    assert zero['i2t_rank'] == pytest.approx(1 + 2 / 2)
    assert one['i2t_r1'] == 0
    assert two['i2t_r1'] == 1
    assert zero['t2i_ranks'] == pytest.approx([2.5, 1], abs=0.6)
    assert zero['t2i_r1'] == pytest.approx(0.5)
    assert result.metrics['i2t_r1'] == pytest.approx(100 * (4 / 3) / 3)
    assert result.metrics['t2i_r1'] == pytest.approx(100 * 3 / 6)


def test_metrics_are_the_means_of_the_samples():
    result = Retrieval(some_boards(20)).run(ColourModel())
    for key, value in result.metrics.items():
        mean = sum(s[key] for s in result.samples) / len(result.samples)
        assert value == pytest.approx(100 * mean)
    assert set(result.chance) == set(result.metrics)


def test_only_the_first_captions_count():
    source = some_boards(4)
    for one in source.boards:
        one.captions = [*one.captions, 'a ruby', 'a ruby']
    result = Retrieval(source, captions_per_image=2).run(ColourModel())
    assert all(len(s['t2i_ranks']) == 2 for s in result.samples)
    result = Retrieval(source, captions_per_image=None).run(ColourModel())
    assert all(len(s['t2i_ranks']) == 7 for s in result.samples)


def test_missing_captions_and_broken_pictures_are_counted():
    source = some_boards(6)
    source.boards[0].captions = ['', '  ', 'a ruby']
    source.boards[1].captions = []
    source.boards[2].captions = ['']
    source.boards[4].broken = True
    result = Retrieval(source).run(ColourModel())
    assert result.skipped == {
        'broken pictures': 1,
        'empty captions': 3,
        'pictures without a caption': 2,
    }
    keys = [sample['key'] for sample in result.samples]
    assert keys == ['board-0', 'board-3', 'board-5']
    # All five pictures that can be read stand as candidates.
    assert result.chance['t2i_r1'] == pytest.approx(100 / 5)


def test_no_caption_at_all_is_an_error():
    source = some_boards(2)
    for one in source.boards:
        one.captions = []
    with pytest.raises(ValueError, match='none of the 2 pictures has'):
        Retrieval(source).run(ColourModel())


class NanModel:
    """What a run that has diverged leaves behind."""

    def encode_image(self, images):
        nan = torch.full((len(images), 4, 3), torch.nan)
        return ImageEmbeddings(nan, nan, nan[:, 0], (2, 2))

    def encode_text(self, texts):
        nan = torch.full((len(texts), 2, 3), torch.nan)
        return TextEmbeddings(nan, nan[:, 0], torch.ones(len(texts), 2) > 0)


def test_a_diverged_model_scores_chance_and_is_reported():
    source = some_boards(10)
    result = Retrieval(source).run(NanModel())
    assert result.metrics == pytest.approx(result.chance)
    bad = result.skipped['embeddings that are not finite']
    captions = [c for b in source.boards for c in b.captions]
    assert bad == 10 + len(captions)


def test_chunks_stay_small():
    model = ColourModel()
    Retrieval(some_boards(20), batch_size=4).run(model)
    assert model.largest_batch == 4


def test_folds_are_tasks_of_their_own():
    """Each fold by itself, by a task that sees no other picture."""
    source = some_boards(12)
    source.boards[2].captions = source.boards[2].captions[:2]
    result = Retrieval(source, folds=3).run(ColourModel())
    assert result.metrics['i2t_r1'] < result.metrics['fold_i2t_r1']
    alone = [
        Retrieval(Boards(source.boards[first : first + 4])).run(ColourModel())
        for first in (0, 4, 8)
    ]
    for key in alone[0].metrics:
        mean = sum(one.metrics[key] for one in alone) / 3
        assert result.metrics[f'fold_{key}'] == pytest.approx(mean)
        mean = sum(one.chance[key] for one in alone) / 3
        assert result.chance[f'fold_{key}'] == pytest.approx(mean)
    samples = [sample for one in alone for sample in one.samples]
    for own, sample in zip(samples, result.samples, strict=True):
        assert sample['fold_i2t_r1'] == pytest.approx(own['i2t_r1'])
        assert sample['fold_t2i_r5'] == pytest.approx(own['t2i_r5'])
    assert [s['fold'] for s in result.samples] == [0] * 4 + [1] * 4 + [2] * 4
    whole = Retrieval(source).run(ColourModel())
    assert whole.metrics.items() <= result.metrics.items()
    assert not any('fold' in sample for sample in whole.samples)


def test_a_broken_picture_moves_no_other_to_another_fold():
    source = some_boards(8)
    source.boards[1].broken = True
    result = Retrieval(source, folds=2).run(ColourModel())
    assert [s['fold'] for s in result.samples] == [0] * 3 + [1] * 4
    assert result.chance['fold_t2i_r1'] == pytest.approx(50 * (1 / 3 + 1 / 4))
    for one in source.boards[:4]:
        one.broken = True
    result = Retrieval(source, folds=2).run(ColourModel())
    assert result.metrics['fold_i2t_r1'] == result.metrics['i2t_r1']


def test_folds_encode_nothing_twice():
    source = some_boards(10)
    model = ColourModel()
    Retrieval(source, folds=5).run(model)
    assert max(source.reads.values()) == 1
    distinct = {c for board in source.boards for c in board.captions}
    assert model.texts_encoded == len(distinct)


@pytest.mark.parametrize('folds', [0, 1, 5])
def test_folds_that_are_none(folds):
    with pytest.raises(ValueError, match='folds must be between 2 and'):
        Retrieval(some_boards(4), folds=folds)
