"""Caption scores are pycocoevalcap's, from its own tokens, to the digit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.meteor import meteor

from sparc_vlm.errors import RunError
from sparc_vlm.evaluation import captions as module
from sparc_vlm.evaluation.bleu_scores import BleuScores
from sparc_vlm.evaluation.captions import score_captions
from sparc_vlm.evaluation.clip_score import (
    clip_scores,
    reference_scores,
    score_pictures,
)
from tests.test_evaluation.colour_world import ColourModel

CAPTIONS = ['A man rides a horse.', "Two dogs' toys on a bed", 'a bus']
REFERENCES = [
    ['A man on a brown horse.', 'The man rides his horse!'],
    ['Toys of two dogs lie on the bed.'],
    ['A bus', 'a red bus stops'],
]


@pytest.fixture(scope='module')
def scores():
    return score_captions(CAPTIONS, REFERENCES, meteor=False)


def test_bleu_by_hand(scores):
    """All words are found but one: 'two dogs toys on _ bed'."""
    found, said = 5 + 5 + 2, 5 + 6 + 2
    # Nearest references are 5, 8 and 2 tokens long.
    penalty = math.exp(1 - 15 / 13)
    expected = 100 * penalty * found / said
    assert scores.metrics['bleu_1'] == pytest.approx(expected, rel=1e-6)


def test_rouge_by_hand():
    """'a b d' of 'a b c d': precision 1, recall 3/4, beta 1.2."""
    found = score_captions(['a b d'], [['a b c d', 'e']], meteor=False)
    f = (1 + 1.44) * 0.75 / (0.75 + 1.44)
    assert found.metrics['rouge_l'] == pytest.approx(100 * f)


def test_cider_by_hand():
    """One reference that is the caption: 10 for each n-gram there is."""
    found = score_captions(['a b c d', 'x y'], [['a b c d'], ['x y']], False)
    # Of 'x y' there are no 3-grams and no 4-grams: half.
    assert [s['cider'] for s in found.samples] == pytest.approx([1000, 500])
    assert found.metrics['cider'] == pytest.approx(750)


def test_words_are_compared_not_letters_or_marks(scores):
    loud = [caption.upper() + ' !' for caption in CAPTIONS]
    again = score_captions(loud, REFERENCES, meteor=False)
    assert again.metrics == scores.metrics


def test_a_silent_captioner_scores_nothing():
    found = score_captions(['', '.'], [['a dog'], ['a cat']], meteor=False)
    assert all(value < 1e-6 for value in found.metrics.values())


def test_what_cannot_be_scored_is_said():
    with pytest.raises(ValueError, match='no captions'):
        score_captions([], [])
    with pytest.raises(ValueError, match="caption 1 .'b'. has no reference"):
        score_captions(['a', 'b'], [['a'], [' . ']])


def test_meteor_takes_java(monkeypatch):
    monkeypatch.setattr(module.shutil, 'which', lambda name: None)
    found = score_captions(['a dog'], [['a dog']])
    assert 'meteor' not in found.metrics
    assert found.notes == ['METEOR is not measured: it takes Java']
    with pytest.raises(ImportError, match='METEOR takes Java'):
        score_captions(['a dog'], [['a dog']], meteor=True)


def test_meteor_where_java_is(monkeypatch):
    """What the Java program is given, and what becomes of its number."""
    given = []

    class Meteor:
        def compute_score(self, known, ours):
            given.append((known, ours))
            return 0.25, [0.25]

    monkeypatch.setattr(module.shutil, 'which', lambda name: '/bin/java')
    monkeypatch.setattr(meteor, 'Meteor', Meteor)
    found = score_captions(["A dog's toy."], [['A toy, blue.']])
    assert found.metrics['meteor'] == 25
    assert given == [({0: ['a toy blue']}, {0: ["a dog 's toy"]})]
    assert not found.notes


def test_a_java_program_that_dies_is_a_sentence(monkeypatch):
    class Meteor:
        def compute_score(self, known, ours):
            return float(''), []  # as pycocoevalcap reads what is not there

    monkeypatch.setattr(module.shutil, 'which', lambda name: '/bin/java')
    monkeypatch.setattr(meteor, 'Meteor', Meteor)
    with pytest.raises(RunError, match='Java program ended early'):
        score_captions(['a dog'], [['a dog']])


def test_bleu_of_drawn_captions_is_the_scorers_own(scores):
    counts = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0]])
    for order in (1, 2, 4):
        table = BleuScores.of_samples(order, [scores.samples])
        assert (table.seeds, table.samples) == (1, 3)
        for found, drawn in zip(table.metrics(counts), counts, strict=True):
            places = np.repeat(np.arange(3), drawn)
            ours = {
                n: [' '.join(module.caption_tokens(CAPTIONS[at]))]
                for n, at in enumerate(places)
            }
            known = {
                n: [' '.join(module.caption_tokens(t)) for t in REFERENCES[at]]
                for n, at in enumerate(places)
            }
            expected = Bleu(4).compute_score(known, ours, verbose=0)[0]
            assert found[0] == pytest.approx(100 * expected[order - 1])
        assert table.at([1]).metrics(np.ones((1, 1))) == pytest.approx(
            table.metrics(np.array([[0, 1, 0]]))
        )


def test_clip_scores_by_hand():
    images = torch.tensor([[1.0, 0], [3, 4], [1, 0], [1, 0]])
    texts = torch.tensor([[2.0, 0], [1, 0], [-1, 0], [torch.nan, 0]])
    scores = clip_scores(images, texts)
    assert scores.tolist() == pytest.approx([2.5, 1.5, 0, 0])
    references = [
        torch.tensor([[0.0, 1], [3, 4]]),
        torch.tensor([[1.0, 0]]),
        torch.tensor([[-1.0, 0]]),
        torch.tensor([[1.0, 0]]),
    ]
    both = reference_scores(scores, texts, references)
    # Harmonic means of 2.5 and 0.6, of 1.5 and 1, of 0 and 1.
    expected = [2 * 2.5 * 0.6 / 3.1, 2 * 1.5 / 2.5, 0, 0]
    assert both.tolist() == pytest.approx(expected)


def test_scores_of_pictures():
    model = ColourModel()
    images = torch.tensor([[1.0, 0, 0, 0]] * 3)
    found = score_pictures(
        model,
        images,
        ['ruby', 'sea', ''],
        [['ruby', 'sun'], ['ruby'], ['ruby']],
        batch_size=2,
    )
    assert found[0]['clip_score'] == pytest.approx(250, abs=1)
    assert found[0]['ref_clip_score'] == pytest.approx(500 / 3.5, abs=1)
    assert found[1]['clip_score'] < 2
    assert found[2] == {'clip_score': 0, 'ref_clip_score': 0}
