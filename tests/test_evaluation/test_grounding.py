import logging

import numpy as np
import pytest
import torch

from sparc_vlm.evaluation import Grounding
from sparc_vlm.evaluation.samples import scores_of
from tests.test_evaluation.colour_world import (
    NOUNS,
    Board,
    Boards,
    ColourModel,
    some_boards,
)


class Phrased(Boards):
    """Boards whose nouns, said in a caption, are phrases.

    The boxes of a noun are its cells, each a box, or one box around all.
    """

    def __init__(self, boards, around=False):
        super().__init__(boards)
        self.around = around

    def phrases(self, index):
        board = self.boards[index]
        cells = np.array(board.cells)
        rows, columns = cells.shape
        found = []
        for place, caption in enumerate(board.captions):
            for noun in NOUNS:
                at = np.argwhere(cells == noun)
                text = f'a {noun}'
                if text not in caption or not len(at):
                    continue
                low, high = at / cells.shape, (at + 1) / cells.shape
                boxes = [
                    [*near[::-1], *far[::-1]]
                    for near, far in zip(low, high, strict=True)
                ]
                if self.around:
                    near, far = low.min(0), high.max(0)
                    boxes = [[*near[::-1], *far[::-1]]]
                start = caption.index(text)
                found.append(
                    {
                        'caption': place,
                        'start': start,
                        'end': start + len(text),
                        'text': text,
                        'types': [noun, 'thing'],
                        'boxes': boxes,
                    }
                )
        return found


WIDE = [
    ['ruby', 'ruby', '', ''],
    ['ruby', 'ruby', '', ''],
    ['', '', '', ''],
    ['', '', '', 'sun'],
]


def ground(source, model=None, **options):
    return Grounding(source, size=16, **options).run(model or ColourModel())


def test_a_model_that_knows_everything():
    result = ground(Phrased([Board(WIDE, ['a ruby and a sun.'])], True))
    for ending in ('', '_last', '_text'):
        assert result.metrics[f'pointing{ending}'] == 100
    # Between patches the map falls to one half at their edge.
    assert result.metrics['recall'] == 100
    assert result.metrics['recall_merged_last'] == 100
    assert result.chance['pointing'] == pytest.approx(100 * (4 + 1) / 32)
    assert result.chance['recall'] == 0
    assert result.metrics['pointing_centre'] == 0
    assert result.samples[0]['phrases'] == 2
    assert result.per_type['ruby']['phrases'] == 1
    assert result.per_type['thing']['phrases'] == 2
    assert result.per_type['sun']['chance_pointing'] == 100 / 16
    assert not result.skipped


def test_any_box_and_the_box_around_all():
    """Two rubies apart: two regions as hot, of which the first is taken."""
    cells = [['ruby', '', '', ''], [''] * 4, [''] * 4, ['', '', '', 'ruby']]
    result = ground(Phrased([Board(cells, ['a ruby'])]))
    assert result.metrics['pointing'] == 100
    assert result.metrics['recall'] == 100
    assert result.metrics['recall_merged'] == 0
    assert result.chance['pointing'] == pytest.approx(100 * 2 / 16)
    assert result.chance['recall'] == 0
    # The smallest box around both is the whole picture.
    assert result.chance['recall_merged'] == 100


def test_tokens_read_the_caption_and_embeddings_the_phrase():
    """`dense` names every colour wrongly, the local patches do not."""
    source = Phrased(some_boards(8).boards)
    result = ground(source, ColourModel(dense_shift=1))
    assert result.metrics['pointing'] == 100
    assert result.metrics['pointing_last'] == 100
    assert result.metrics['pointing_text'] < 60
    right = ground(source)
    assert right.metrics['pointing_text'] == 100


def test_the_last_token_and_the_mean():
    """An alignment that sends each token of a caption somewhere else."""
    cells = [['ruby', 'sun'], ['', '']]
    source = Phrased([Board(cells, ['a ruby'])])

    def in_turn(tokens, patches):
        # mark, a, rub, y, mark
        rows = torch.tensor([[9, 9, 9, 9], [0, 1, 0, 0], [0, 3, 0, 0]])
        rows = [*rows, torch.tensor([2, 0, 0, 0]), torch.zeros(4)]
        return torch.stack(rows).float()[None]

    result = ground(source, ColourModel((2, 2)), alignment=in_turn)
    assert result.metrics['pointing'] == 0
    assert result.metrics['pointing_last'] == 100


def test_a_model_that_sees_nothing_scores_chance():
    class Blind(ColourModel):
        def encode_image(self, images):
            found = super().encode_image(images)
            one = torch.ones_like(found.patches)
            return type(found)(one, one, found.image, found.grid)

    result = ground(Phrased(some_boards(6).boards, True), Blind())
    for key in ('pointing', 'pointing_last', 'pointing_text', 'recall_text'):
        assert result.metrics[key] == pytest.approx(result.chance[key]), key


def test_metrics_are_means_over_phrases():
    source = Phrased(some_boards(9).boards)
    source.boards[1].captions = ['a ruby', 'nothing']
    result = ground(source, ColourModel(dense_shift=2))
    total = sum(s['phrases'] for s in result.samples)
    for key, value in result.metrics.items():
        mean = sum(s[key] * s['phrases'] for s in result.samples) / total
        assert value == pytest.approx(mean)
        assert scores_of(key, [result.to_json()]) is not None
    assert set(result.chance) == set(result.metrics)


def test_a_model_that_does_not_tell_words(monkeypatch):
    said = []
    monkeypatch.setattr(
        'sparc_vlm.evaluation.tasks.grounding.print_log',
        lambda text, logger, level: said.append((text, level)),
    )
    whole = ColourModel()

    class Foreign:
        """Texts in, embeddings out; its tokens are its own business."""

        image_size = None
        encode_image = staticmethod(whole.encode_image)
        encode_text = staticmethod(whole.encode_text)

    result = ground(Phrased(some_boards(3).boards), Foreign())
    assert set(result.metrics) == {
        'pointing_text',
        'recall_text',
        'recall_merged_text',
        'pointing_centre',
    }
    assert result.metrics['pointing_text'] == 100
    (text, level), *_ = said
    assert 'Foreign does not tell which words' in text
    assert level == logging.WARNING


def test_a_model_without_alignment_is_measured_by_cosine():
    class Bare(ColourModel):
        align = None

    result = ground(Phrased(some_boards(4).boards), Bare())
    assert result.metrics['pointing'] == 100


def test_alignment_that_is_handed_in():
    def away(tokens, patches):
        return -(tokens @ patches.transpose(1, 2))

    result = ground(Phrased(some_boards(4).boards), alignment=away)
    assert result.metrics['pointing'] == 0
    assert result.metrics['pointing_text'] == 100


def test_what_cannot_be_asked_is_counted():
    class Short(ColourModel):
        """Reads five tokens: mark, a, rub, y, and."""

        def __init__(self):
            super().__init__()
            encode = self.tokenizer.encode

            def truncated(text):
                one = encode(text)
                one.ids, one.words = one.ids[:5], one.words[:5]
                one.real = one.real[:5]
                return one

            self.tokenizer.encode = truncated

    source = Phrased(
        [
            Board(WIDE, ['a ruby and a sun']),
            Board(WIDE, ['nothing']),
            Board(WIDE, ['a ruby'], broken=True),
        ]
    )
    result = ground(source, Short())
    assert result.samples[0]['phrases'] == 1
    assert result.skipped == {
        'broken pictures': 1,
        'pictures without a phrase': 1,
        'phrases without a token': 1,
    }


def test_nothing_to_ask_is_an_error():
    with pytest.raises(ValueError, match='no phrase has a token'):
        ground(Phrased([Board(WIDE, ['nothing'])]))
    with pytest.raises(ValueError, match='Boards has no phrases; take a data'):
        Grounding(some_boards(2))
    for bad in ({'share': 0}, {'share': 1.5}, {'size': 0}):
        with pytest.raises(ValueError, match='share lies above 0'):
            Grounding(Phrased(some_boards(2).boards), **bad)


def test_a_diverged_model_is_an_error():
    class Nan(ColourModel):
        def encode_image(self, images):
            found = super().encode_image(images)
            found.dense[:] = torch.nan
            return found

    with pytest.raises(ValueError, match='grounding: the model gives patches'):
        ground(Phrased(some_boards(2).boards), Nan())


def test_chunks_stay_small():
    model = ColourModel()
    Grounding(Phrased(some_boards(20).boards), batch_size=4).run(model)
    assert model.largest_batch == 4
