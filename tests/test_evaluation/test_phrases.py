import torch

from sparc_vlm.evaluation.phrases import (
    cosine_alignment,
    phrase_maps,
    phrase_tokens,
    tells_words,
)
from tests.test_datasets.made import tokenizer
from tests.test_evaluation.colour_world import ColourModel, PieceTokenizer


def span(caption, text, at=0):
    start = caption.index(text, at)
    return start, start + len(text)


def test_tokens_of_a_phrase():
    pieces = PieceTokenizer()
    caption = 'a ruby and a sun'
    # mark, a, rub, y, and, a, sun, mark
    assert phrase_tokens(pieces, caption, *span(caption, 'a ruby')) == [
        1,
        2,
        3,
    ]
    assert phrase_tokens(pieces, caption, *span(caption, 'sun')) == [6]
    second = span(caption, 'a', 5)
    assert caption[slice(*second)] == 'a'
    assert phrase_tokens(pieces, caption, *span(caption, 'a sun')) == [5, 6]


def test_tokens_of_a_phrase_by_the_projects_own_tokenizer():
    own = tokenizer()
    caption = 'A red ball, a red-green dog!'
    words = own.word_spans(caption)
    assert words == ['A', 'red', 'ball', ',', 'a', 'red-green', 'dog', '!']
    found = phrase_tokens(own, caption, *span(caption, 'a red-green dog'))
    owners = own.encode(caption).words
    assert {owners[place] for place in found} == {4, 5, 6}
    assert found == sorted(found)
    # A word that is partly meant is meant.
    half = phrase_tokens(own, caption, *span(caption, 'green dog'))
    assert {owners[place] for place in half} == {5, 6}


def test_a_phrase_that_was_cut_off_has_no_token():
    own = tokenizer()
    caption = 'a red ball ' * 9 + 'and a dog'
    assert own.encode(caption).truncated
    assert phrase_tokens(own, caption, *span(caption, 'dog')) == []


def test_who_tells_words():
    model = ColourModel()
    assert tells_words(model)
    model.tokenizer = None
    assert not tells_words(model)
    model.tokenizer = str.split
    assert not tells_words(model)


def test_cosines_know_no_length():
    tokens = torch.tensor([[[3.0, 0.0], [1.0, 1.0]]])
    patches = torch.tensor([[[5.0, 0.0], [0.0, 0.1], [0.0, 0.0]]])
    cosines = cosine_alignment(tokens, patches)
    half = 0.5**0.5
    expected = torch.tensor([[[1, 0, 0], [half, half, 0]]])
    assert torch.allclose(cosines, expected)


def test_maps_of_a_phrase_are_those_of_its_caption():
    """The same caption of two pictures, and a picture without a phrase."""
    model = ColourModel((1, 2))
    caption = 'the ruby sun'
    phrase = {'caption': 0, 'start': 4, 'end': 12, 'text': 'ruby sun'}
    sun = {'caption': 0, 'start': 9, 'end': 12, 'text': 'sun'}
    ruby, yellow = torch.eye(4)[0], torch.eye(4)[3]
    patches = torch.stack(
        [
            torch.stack([ruby, yellow]),
            torch.stack([ruby, ruby]),
            torch.stack([yellow, ruby]),
        ]
    )
    maps = phrase_maps(
        model,
        [[caption]] * 3,
        [[phrase, sun], [], [phrase]],
        patches,
        patches.flip(1),
        lambda tokens, patches: tokens @ patches.transpose(1, 2),
        8,
    )
    assert [len(own) for own in maps] == [2, 0, 1]
    # Two pieces of ruby, one of sun.
    assert torch.allclose(maps[0][0][''], torch.tensor([2 / 3, 1 / 3]))
    assert maps[0][0]['_last'].tolist() == [0, 1]
    assert maps[0][1][''].tolist() == [0, 1]
    assert maps[2][0]['_last'].tolist() == [1, 0]
    text = maps[0][0]['_text']
    # Another space, where the pictures are turned round.
    assert torch.allclose(text, maps[2][0]['_text'].flip(0))
    assert text[1] > text[0] > 0
