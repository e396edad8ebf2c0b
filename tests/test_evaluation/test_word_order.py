import sys
from random import Random

import pytest

from sparc_vlm.datasets.kinds import KINDS
from sparc_vlm.evaluation import Foils
from sparc_vlm.evaluation.word_order import (
    SHUFFLES,
    WordOrder,
    shuffle_all_others,
    shuffle_nouns_and_adjectives,
    shuffle_trigrams,
    shuffle_within_trigrams,
)
from sparc_vlm.registry import DATASETS
from tests.test_datasets.made import write_karpathy
from tests.test_evaluation.colour_world import Board, Boards, ColourModel

CAPTION = 'A brown dog chases two small cats, in the red garden.'
WORDS = 'A brown dog chases two small cats , in the red garden .'.split()
TAGS = 'DT JJ NN VBZ CD JJ NNS , IN DT JJ NN .'.split()
NOUNS, ADJECTIVES = [2, 6, 11], [1, 5, 10]


def many(shuffle, count=60):
    return [shuffle(WORDS, TAGS, Random(n)) for n in range(count)]


def at(words, places):
    return [words[place] for place in places]


def test_nouns_and_adjectives_change_places_with_their_like():
    orders = set()
    for moved in many(shuffle_nouns_and_adjectives):
        for places in (NOUNS, ADJECTIVES):
            assert sorted(at(moved, places)) == sorted(at(WORDS, places))
            orders.add(tuple(at(moved, places)))
        rest = set(range(len(WORDS))) - {*NOUNS, *ADJECTIVES}
        assert at(moved, rest) == at(WORDS, rest)
    # All six orders of each.
    assert len(orders) == 12


def test_all_others_change_places():
    for moved in many(shuffle_all_others):
        kept = [*NOUNS, *ADJECTIVES]
        assert at(moved, kept) == at(WORDS, kept)
        assert sorted(moved) == sorted(WORDS)
    assert len(set(map(tuple, many(shuffle_all_others)))) > 50


def test_trigrams():
    threes = [WORDS[n : n + 3] for n in range(0, 13, 3)]
    for moved in many(shuffle_within_trigrams):
        for n, three in zip(range(0, 13, 3), threes, strict=True):
            assert sorted(moved[n : n + 3]) == sorted(three)
    for moved in many(shuffle_trigrams):
        text = ' '.join(moved)
        assert all(' '.join(three) in text for three in threes)
        assert sorted(moved) == sorted(WORDS)
    assert many(shuffle_trigrams, 1) != [WORDS]


class Pictures(Boards):
    def image(self, index, at_least=None):
        return super().image(index)


def source(*captions):
    return Pictures([Board([['ruby']], list(captions))])


def test_captions_and_shuffles():
    order = WordOrder(source(CAPTION, 'Two dogs.'), seed=3)
    first, second = order.foils(0)
    plain = 'a brown dog chases two small cats, in the red garden'
    assert first['kind'] == 'order' and first['caption'] == plain
    assert 2 <= len(first['foil']) <= len(SHUFFLES)
    for foil in first['foil']:
        words = sorted(foil.replace(',', ' ').split())
        assert words == sorted(plain.replace(',', ' ').split())
    # One noun alone, and marks that go, leave nothing but the words turned.
    assert second['caption'] == 'two dogs'
    assert set(second['foil']) <= {'dogs two'}
    assert order.foils(0) == [first, second]
    assert WordOrder(source(CAPTION), seed=4).foils(0) != [first]
    short = WordOrder(source(CAPTION), max_words=4).foils(0)[0]
    assert short['caption'] == 'a brown dog chases'
    assert {len(foil.split()) for foil in short['foil']} == {4}
    assert len(WordOrder(source(CAPTION, 'x'), captions_per_image=1).foils(0))
    with pytest.raises(ValueError, match='one word has no order'):
        WordOrder(source(CAPTION), max_words=1)


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, 'spacy', None)
    said = r"^WordOrder needs spaCy .* 'sparc_vlm\[faithfulness\]'$"
    with pytest.raises(ImportError, match=said):
        WordOrder(source(CAPTION))


def test_a_bag_of_words_scores_chance():
    boards = source('a ruby and a leaf', 'a leaf with two seas and a sun')
    result = Foils(WordOrder(boards)).run(ColourModel((1, 1)))
    assert result.metrics['accuracy/order'] == pytest.approx(
        result.chance['accuracy/order']
    )
    assert 20 <= result.chance['accuracy'] < 50


def test_karpathy_by_its_kind(tmp_path):
    file = write_karpathy(tmp_path)
    build = KINDS['foils']['aro-order']
    config = build(str(file), {'split': 'val', 'seed': 2})
    assert config['type'] == 'WordOrder' and config['seed'] == 2
    order = DATASETS.build(config)
    assert len(order) == 1 and order.key(0) == '2.png'
    assert order.image(0).size == (24, 24)
    rows = order.foils(0)
    assert [row['caption'] for row in rows] == order.captions(0)
    assert all(row['foil'] for row in rows)
