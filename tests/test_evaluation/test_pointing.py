import numpy as np
import pytest
import torch

from sparc_vlm.evaluation import Pointing
from sparc_vlm.evaluation.tasks.pointing import (
    at_centres,
    hit,
)
from sparc_vlm.evaluation.words import (
    encode_words,
    merge_pieces,
)
from tests.test_evaluation.colour_world import (
    Board,
    Boards,
    ColourModel,
    some_boards,
)


def softmax_alignment(tokens, patches):
    return (tokens @ patches.transpose(1, 2)).softmax(-1)


def test_pieces_of_a_word_are_averaged():
    weights = torch.tensor([[9.0, 9], [1, 3], [3, 5], [2, 2], [9, 9]])
    merged = merge_pieces(weights, [None, 0, 0, 1, None])
    assert merged.tolist() == [[2, 4], [2, 2]]
    assert merge_pieces(weights[:1], [None]).shape == (0, 2)


def test_words_of_captions_in_a_padded_batch():
    model = ColourModel()
    short, long = encode_words(model, ['a ruby', 'the sun and a leaf'], 8)
    assert short.words == ['a', 'ruby']
    assert short.owners == [None, 0, 1, 1, None]
    assert short.tokens.shape == (5, 4)
    assert long.words == ['the', 'sun', 'and', 'a', 'leaf']
    alone = encode_words(model, ['a ruby'], 1)[0]
    assert torch.equal(alone.tokens, short.tokens)


def test_truncated_words_are_left_out():
    class Short(ColourModel):
        """Stops after the first four tokens, the end mark included."""

        def __init__(self):
            super().__init__()
            encode = self.tokenizer.encode

            def truncated(text):
                one = encode(text)
                one.ids, one.words = one.ids[:4], [*one.words[:3], None]
                one.real = [*one.real[:3], False]
                return one

            self.tokenizer.encode = truncated

    words = encode_words(Short(), ['a sun leaf'], 4)[0]
    assert words.words == ['a', 'sun']


def test_model_without_a_tokenizer_is_refused():
    model = ColourModel()
    model.tokenizer = None
    with pytest.raises(ValueError, match='ColourModel has no tokenizer'):
        encode_words(model, ['a ruby'], 4)


def test_model_that_drops_marks_is_refused():
    class NoMarks(ColourModel):
        def encode_text(self, texts):
            encoded = super().encode_text(texts)
            return type(encoded)(
                encoded.tokens[:, 1:], encoded.text, encoded.token_mask[:, 1:]
            )

    with pytest.raises(ValueError, match="disagree on the tokens of 'a rub"):
        encode_words(NoMarks(), ['a ruby'], 4)


def test_hit_and_ties():
    on_object = np.array([True, False, False, True])
    assert hit(torch.tensor([0.9, 0.1, 0.0, 0.0]), on_object) == 1
    assert hit(torch.tensor([0.1, 0.9, 0.0, 0.0]), on_object) == 0
    assert hit(torch.full((4,), 0.25), on_object) == 0.5


def test_values_at_patch_centres():
    pixels = np.arange(24).reshape(4, 6)
    assert at_centres(pixels, (2, 3)).tolist() == [7, 9, 11, 19, 21, 23]
    assert at_centres(pixels, (1, 1)).tolist() == [15]


def test_a_model_that_knows_everything():
    source = some_boards(8)
    result = Pointing(source, softmax_alignment).run(ColourModel())
    assert result.metrics == {'pointing': 100, 'pointing_dense': 100}
    # Every noun covers three of sixteen patches.
    assert result.chance['pointing'] == pytest.approx(100 * 3 / 16)
    words = sum(
        board_caption.count(' and ') + 1
        for board in source.boards
        for board_caption in board.captions
    )
    assert sum(sample['words'] for sample in result.samples) == words


def test_dense_and_patches_are_told_apart():
    result = Pointing(some_boards(8), softmax_alignment).run(
        ColourModel(dense_shift=1)
    )
    assert result.metrics['pointing'] == 100
    assert result.metrics['pointing_dense'] < 60


def test_mean_is_over_words():
    """One picture asks for one word and hits, another for two and misses."""
    full = [['ruby', 'leaf'], ['sea', 'sun']]
    source = Boards(
        [
            Board([['ruby', 'ruby'], ['ruby', 'ruby']], ['a ruby']),
            Board(full, ['a sea', 'a leaf', '']),
        ]
    )
    result = Pointing(source, softmax_alignment).run(
        ColourModel((2, 2), dense_shift=1)
    )
    assert result.metrics['pointing_dense'] == pytest.approx(100 / 3)
    assert result.chance['pointing'] == pytest.approx(100 * (1 + 0.5) / 3)


def test_objects_smaller_than_a_patch_are_not_asked_for():
    cells = [[''] * 4, [''] * 4, ['', '', 'ruby', ''], ['', '', '', 'sun']]
    source = Boards([Board(cells, ['a ruby and a sun'])])
    result = Pointing(source, softmax_alignment).run(ColourModel((1, 1)))
    assert result.samples[0]['words'] == 1
    assert result.metrics['pointing'] == 100


def test_pictures_whose_captions_name_nothing_are_counted():
    source = some_boards(3)
    source.boards[1].captions = ['nothing here', '']
    result = Pointing(source, softmax_alignment).run(ColourModel())
    assert result.skipped == {'pictures whose captions name no object': 1}
    assert len(result.samples) == 2


def test_a_broken_map_costs_its_picture_alone(monkeypatch):
    source = some_boards(3)
    whole = source.segments

    def segments(index):
        if index == 1:
            raise OSError('torn')
        return whole(index)

    monkeypatch.setattr(source, 'segments', segments)
    result = Pointing(source, softmax_alignment).run(ColourModel())
    assert result.skipped == {'pictures with broken segments': 1}
    assert len(result.samples) == 2
    source.boards = source.boards[1:2]
    monkeypatch.setattr(source, 'segments', lambda _: segments(1))
    with pytest.raises(ValueError, match='torn'):
        Pointing(source, softmax_alignment).run(ColourModel())


def test_nothing_to_ask_is_an_error():
    source = Boards([Board([['ruby']], ['nothing'])])
    with pytest.raises(ValueError, match='no caption names an object'):
        Pointing(source, softmax_alignment).run(ColourModel((1, 1)))
    with pytest.raises(ValueError, match='list has no segments'):
        Pointing([1], softmax_alignment)


def test_alignment_is_the_models_own_unless_another_is_handed_in():
    source = some_boards(8)
    asked = []

    class Elsewhere(ColourModel):
        def align(self, tokens, patches):
            asked.append(tokens.shape)
            return softmax_alignment(-tokens, patches)

    assert Pointing(source).run(ColourModel()).metrics['pointing'] == 100
    assert Pointing(source).run(Elsewhere()).metrics['pointing'] == 0
    assert asked
    asked.clear()
    handed = Pointing(source, softmax_alignment).run(Elsewhere())
    assert handed.metrics['pointing'] == 100
    assert not asked


def test_a_model_without_alignment_is_told():
    class Bare(ColourModel):
        align = None

    with pytest.raises(ValueError, match='hand one in as alignment='):
        Pointing(some_boards(2)).run(Bare())
