"""Where nouns are looked for, and what is chosen by it.

The eyes see colours exactly and know their nouns (see `colour_world`), so
that every number can be worked out by hand.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparc_vlm.captioning.attribution import (
    Attribution,
    area_under_curve,
    patches_inside,
)
from sparc_vlm.captioning.grounding import (
    GroundedWord,
    ground_captions,
    grounding_score,
    tagged_nouns,
    words_among,
)
from sparc_vlm.captioning.rerank import Rerank
from sparc_vlm.evaluation import Captioning
from sparc_vlm.evaluation.samples import scores_of
from sparc_vlm.registry import MODELS, TASKS
from tests.test_evaluation.caption_world import Parrot, Photo, Photos
from tests.test_evaluation.colour_world import (
    NOUNS,
    Board,
    Boards,
    ColourModel,
)

FIND = words_among(NOUNS)


class BoxedBoards(Boards):
    """Boards whose coloured cells are boxes."""

    classes = NOUNS

    def boxes(self, index):
        return [
            {
                'name': noun,
                'box': [
                    column * self.cell,
                    row * self.cell,
                    (column + 1) * self.cell,
                    (row + 1) * self.cell,
                ],
            }
            for row, nouns in enumerate(self.boards[index].cells)
            for column, noun in enumerate(nouns)
            if noun
        ]


CELLS = [['ruby', ''], ['', 'sea']]
BOARDS = BoxedBoards([Board(CELLS, ['a ruby and a sea'])])


class Teller:
    """Captions of every picture, the likeliest first."""

    def __init__(self, *captions, shift=0):
        self.captions = list(captions)
        self.eyes_model = ColourModel((2, 2), dense_shift=shift)

    def caption(self, images, num_samples=1, temperature=0.0, **options):
        own = self.captions[1 : 1 + num_samples]
        return [own if temperature else self.captions[:1] for _ in images]

    def answer(self, images, questions, **options):
        return ['yes' for _ in questions]


def ground(caption):
    (words,), grid = ground_captions(
        ColourModel((2, 2)), BOARDS.image(0), [caption], FIND
    )
    assert grid == (2, 2)
    return words


def test_nouns_and_their_maps():
    ruby, sea = ground('a ruby and a sea.')
    assert (ruby.word, ruby.until) == ('ruby', ('a', 'ruby'))
    assert ruby.weights.tolist() == [1, 0, 0, 0]
    assert sea.weights.tolist() == [0, 0, 0, 1]
    assert ruby.peak == pytest.approx(0.75)
    assert ruby.fit == pytest.approx(1)


def test_what_is_not_there_is_looked_for_everywhere():
    (sun,) = ground('a sun')
    assert sun.weights.tolist() == [0.25] * 4
    assert sun.peak == sun.fit == 0


def test_scores_by_hand():
    assert grounding_score(ground('a ruby and a sun')) == pytest.approx(0.875)
    assert grounding_score(ground('a ruby')) == pytest.approx(1.75)
    assert grounding_score(ground('and a')) == grounding_score([]) == 0
    # Weights that do not add up to 1, and some below 0.
    word = GroundedWord(('a',), torch.tensor([3.0, -1, 3, 0]), 0.5)
    assert word.peak == pytest.approx(0.5)
    flat = GroundedWord(('a',), torch.zeros(4), 0.0)
    assert flat.peak == 0


def test_captions_are_told_apart_and_empty_ones_have_no_noun():
    model = ColourModel((2, 2))
    texts = ['a sea', '', 'a ruby and a sea', 'a sea']
    words, _ = ground_captions(model, BOARDS.image(0), texts, FIND)
    assert [[w.word for w in own] for own in words] == [
        ['sea'],
        [],
        ['ruby', 'sea'],
        ['sea'],
    ]
    assert model.texts_encoded == 2


def test_which_words_are_nouns():
    words = 'Two dogs, a red box!'.split()
    assert words_among(['dog', 'box'])(words, ' '.join(words)) == [1, 4]
    caption = "A small dog's ball is red ."
    assert tagged_nouns()(caption.split(), caption) == [2, 3]


def test_attribution_of_a_model_that_knows():
    task = Attribution(BOARDS)
    result = task.run(Teller('a ruby and a sun'))
    assert result.metrics['pointing'] == 100
    assert result.chance['pointing'] == 25
    assert result.metrics['tells_invented'] == 100
    (sample,) = result.samples
    assert sample['nouns'] == 1
    assert sample['words'] == [
        {
            'word': 'ruby',
            'is_there': True,
            'hit': 1.0,
            'score': pytest.approx(1.75),
        },
        {'word': 'sun', 'is_there': False, 'hit': None, 'score': 0},
    ]
    scores, _ = scores_of('pointing', [result.to_json()])
    assert scores.values.tolist() == [[100]]


def test_attribution_of_a_model_that_looks_elsewhere():
    class Wrong(ColourModel):
        def align(self, tokens, patches):
            return torch.eye(4)[1].expand(*tokens.shape[:2], 4)

    teller = Teller('a ruby')
    teller.eyes_model = Wrong((2, 2))
    assert Attribution(BOARDS).run(teller).metrics['pointing'] == 0


def test_synonyms_of_coco():
    """The words are COCO's; 'hot dog' names no dog."""
    photos = Photos(
        [Photo(['x'], {'dog': [[0, 0, 20, 20]]})], ['dog', 'hot dog', 'cat']
    )
    task = Attribution(photos)
    teller = Teller('a puppy and a kitten eat a hot dog')
    (sample,) = task.run(teller).samples
    told = [(w['word'], w['is_there']) for w in sample['words']]
    assert told == [('puppy', True), ('kitten', False), ('dog', False)]
    assert sample['nouns'] == 1


@pytest.mark.parametrize(
    ('caption', 'is_there'),
    [
        ('a crescent', True),
        ('a brown crescent', True),
        ('a large striped brown crescent', True),
        ('a red crescent', False),
        ('a small red crescent', False),
        # Red is of another noun, and no crescent of this data is pink.
        ('red and a crescent', True),
        ('a pink crescent', True),
        ('a red signal light', True),
        ('a red light', True),
        ('two brown diamonds', False),
        ('diamonds', True),
    ],
)
def test_what_its_class_is_not_is_not_there(caption, is_there):
    classes = [
        *('red crescent', 'brown crescent', 'black diamond'),
        *('brown diamond', 'signal light'),
    ]
    shown = ['brown crescent', 'black diamond', 'signal light']
    boxes = {name: [[0, 0, 20, 20]] for name in shown}
    photos = Photos([Photo(['x'], boxes)], classes)
    (sample,) = Attribution(photos).run(Teller(caption)).samples
    assert [word['is_there'] for word in sample['words']] == [is_there]


def test_anything_before_a_class_of_coco():
    boxes = {'traffic light': [[0, 0, 20, 20]], 'sports ball': [[0, 0, 9, 9]]}
    photos = Photos([Photo(['x'], boxes)], [*boxes, 'dog'])
    teller = Teller('a red traffic light, a green ball and a red dog')
    (sample,) = Attribution(photos).run(teller).samples
    told = {w['word']: w['is_there'] for w in sample['words']}
    assert told == {'light': True, 'ball': True, 'dog': False}


def test_what_may_be_there_without_a_box_is_on_neither_side():
    """People name a cat and a crowd shows birds; of a cow nobody speaks."""

    class Crowds(Photos):
        def crowds(self, index):
            return ['bird']

    classes = ['dog', 'cat', 'bird', 'cow']
    boxes = {'dog': [[0, 0, 20, 20]]}
    photos = Crowds([Photo(['x', 'a kitten'], boxes)], classes)
    teller = Teller('a dog a cat a duck and a cow')
    result = Attribution(photos).run(teller)
    (sample,) = result.samples
    told = {w['word']: w['is_there'] for w in sample['words']}
    assert told == dict(dog=True, cat=None, duck=None, cow=False)
    assert result.skipped['nouns without a box that may be there'] == 2
    scores = {w['word']: w['score'] for w in sample['words']}
    assert result.metrics['tells_invented'] == area_under_curve(
        [scores['dog']], [scores['cow']]
    )
    teller = Teller('a cat and a duck')
    assert 'tells_invented' not in Attribution(photos).run(teller).metrics


def test_patches_inside_boxes():
    inside = patches_inside([[0, 0, 20, 10], [29, 4, 31, 6]], (40, 20), (2, 4))
    assert inside.reshape(2, 4).tolist() == [
        [True, True, False, False],
        [False] * 4,
    ]
    assert patches_inside([[4, 4, 6, 6]], (20, 20), (2, 2))[0]


def test_area_under_curve_is_all_pairs():
    assert area_under_curve([3, 1], [2, 1]) == 100 * (1 + 1 + 0 + 0.5) / 4
    assert area_under_curve([], [1]) is area_under_curve([1], []) is None
    high, low = np.random.default_rng(0).random((2, 500)).tolist()
    assert area_under_curve(high, low) == pytest.approx(50, abs=5)


def chosen(by, *captions, **options):
    options = dict(num_samples=4) | options
    if by == 'grounding':
        options['nouns'] = NOUNS
    model = Rerank(by, **options).wrap(Teller(*captions))
    return model.caption([BOARDS.image(0)])[0]


def test_what_is_on_the_picture_is_chosen():
    said = ('a sun', 'a ruby and a sun', 'a sea', 'a leaf')
    assert chosen('grounding', *said) == ['a sea']
    assert chosen('clip_score', *said[:2], 'a ruby and a sea') == [
        'a ruby and a sea'
    ]
    # As good: the likeliest.
    assert chosen('grounding', 'a ruby', 'a sea') == ['a ruby']
    assert chosen('grounding', 'a sun', num_samples=0) == ['a sun']


def test_what_is_below_the_threshold_is_withheld():
    assert chosen('grounding', 'a sun', 'a leaf', threshold=0.5) == []
    assert chosen('grounding', 'a sun', 'a sea', threshold=0.5) == ['a sea']
    # Nothing said is worst.
    assert chosen('grounding', '', 'a sun') == ['a sun']
    assert chosen('clip_score', '', ' ', threshold=0.0) == []


def test_likelihood_is_the_captioners():
    parrot = Parrot([['a long caption', 'short', 'shorter']])
    photos = Photos([Photo(['a caption'])])
    model = Rerank('likelihood', num_samples=2, seed=5).wrap(parrot)
    assert model.caption([photos.image(0)], prompt='Say') == [['short']]
    assert parrot.asked == [('Say', 1, 0.0, 0), ('Say', 2, 1.0, 5)]
    rated = model.rate([photos.image(0)])[0]
    assert [(one.text, one.score) for one in rated] == [
        ('a long caption', -14),
        ('short', -5),
        ('shorter', -7),
    ]


def test_an_option_of_the_task():
    choose = dict(type='Rerank', by='grounding', nouns=NOUNS, threshold=0.5)
    boards = BoxedBoards(
        [*BOARDS.boards, Board([['', ''], ['', '']], ['nothing'])]
    )
    task = TASKS.build(
        dict(type='Captioning', dataset=boards, meteor=False, choose=choose)
    )
    plain = Captioning(boards, meteor=False)
    teller = Teller('a sun', 'a ruby')
    found, before = task.run(teller), plain.run(teller)
    assert before.metrics['chair_i'] == 100
    assert found.metrics['chair_i'] == 0
    assert found.metrics['captioned'] == 50
    assert found.metrics['k_p'] > before.metrics['k_p']
    assert found.skipped['pictures whose caption is withheld'] == 1


def test_nouns_are_those_of_the_datas_classes():
    told = 'the orange rings left of a dog'.split()
    rings = ['red ring', 'blue ring']
    assert Rerank(classes=rings).find_nouns(told, '') == [2]
    assert Rerank(classes=rings, nouns=['dog']).find_nouns(told, '') == [6]
    # Of COCO's classes people speak in many words.
    coco = Rerank(classes=['dog', 'cat'])
    assert coco.find_nouns(['a', 'puppy'], 'a puppy') == [1]
    boards = BoxedBoards(BOARDS.boards)
    for own, at in ({}, 2), ({'classes': ['lazy dog']}, 6):
        choose = dict(type='Rerank', by='grounding', **own)
        boards.classes = rings
        task = Captioning(boards, meteor=False, choose=choose)
        assert task.chooser.find_nouns(told, '') == [at]


def test_what_a_choice_lacks_is_said():
    blind = Parrot([['a']])
    with pytest.raises(ValueError, match='no text encoder'):
        Rerank('clip_score').wrap(blind)
    with pytest.raises(ValueError, match='no text encoder'):
        Attribution(BOARDS).run(blind)
    with pytest.raises(ValueError, match='cannot say how likely'):
        Rerank('likelihood').wrap(Teller('a'))
    with pytest.raises(ValueError, match='by must be one of'):
        MODELS.build(dict(type='Rerank', by='luck'))
    with pytest.raises(ValueError, match='temperature above 0'):
        Rerank(temperature=0)
    with pytest.raises(ValueError, match='seed must be at least 0'):
        Rerank('likelihood', seed=-1)
    with pytest.raises(ValueError, match='has no boxes'):
        Attribution(Boards(BOARDS.boards))
    with pytest.raises(ValueError, match='no caption names a class'):
        Attribution(BOARDS).run(Teller('nothing here'))
    assert Rerank('grounding').wrap(Teller('a')).answer([1], ['?']) == ['yes']
