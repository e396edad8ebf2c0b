import math
import random
import sys

import pytest
import torch

from sparc_vlm.datasets import Flickr8kJudgements
from sparc_vlm.evaluation import HumanJudgement
from sparc_vlm.evaluation.tasks.human_judgement import kendall
from tests.test_datasets.entities import write_judgements
from tests.test_evaluation.colour_world import Board, Boards, ColourModel


def test_hand_worked_tau():
    """Pairs 1-3 and 2-3 agree, 1-2 ties among the judgements."""
    scores, judged = [0.1, 0.2, 0.3], [[1], [1], [4]]
    assert kendall(scores, judged, 'b') == pytest.approx(
        100 * 2 / math.sqrt(3 * 2)
    )
    # Two grades: 2 (P - Q) / (n^2 (m - 1) / m)
    assert kendall(scores, judged, 'c') == pytest.approx(100 * 4 / (9 / 2))
    assert kendall(scores[::-1], judged, 'c') == pytest.approx(-800 / 9)


def test_what_orders_nothing_is_nothing():
    assert kendall([0.5, 0.5], [[1], [2]], 'b') == 0
    assert kendall([0.5, 0.6], [[2], [2]], 'c') == 0
    assert kendall([0.5], [[2]], 'b') == 0


def test_every_judgement_is_an_observation():
    """Against counting all pairs of observations."""
    rng = random.Random(0)
    scores = [rng.randint(0, 6) / 10 for _ in range(12)]
    judged = [[rng.randint(1, 4) for _ in range(3)] for _ in scores]
    rows = [(s, g) for s, own in zip(scores, judged, strict=True) for g in own]
    agree = ties = grades = 0
    for place, (score, grade) in enumerate(rows):
        for other, grade_2 in rows[:place]:
            sign = (score > other) - (score < other)
            agree += sign * ((grade > grade_2) - (grade < grade_2))
            ties += score == other
            grades += grade == grade_2
    pairs = len(rows) * (len(rows) - 1) / 2
    b = agree / math.sqrt((pairs - ties) * (pairs - grades))
    assert kendall(scores, judged, 'b') == pytest.approx(100 * b)
    kinds = min(len(set(scores)), 4)
    c = 2 * agree / (len(rows) ** 2 * (kinds - 1) / kinds)
    assert kendall(scores, judged, 'c') == pytest.approx(100 * c)


class Judged(Boards):
    """Boards with captions of others that were judged."""

    def __init__(self, boards, judged):
        super().__init__(boards)
        self.judged = judged

    def judgements(self, index):
        return [
            {'key': f'{index}#{n}', 'caption': caption, 'scores': scores}
            for n, (caption, scores) in enumerate(self.judged[index])
        ]


def world():
    cells = [['ruby', 'ruby'], ['sun', '']]
    return Judged(
        [Board(cells, ['a ruby', 'ruby and sun']), Board(cells, ['a sun'])],
        [
            [('a ruby and a sun', [4, 4]), ('a ruby', [3, 4])],
            [('a sea', [1, 2]), ('one sun', [2, 3])],
        ],
    )


def test_hand_worked_agreement():
    """Cosine and judges put the four captions in the same order."""
    result = HumanJudgement(world()).run(ColourModel((2, 2)))
    both, ruby, sea, sun = (s['cosine'] for s in result.samples)
    assert both > ruby > sun > sea
    # Of 28 pairs of observations 4 have the same cosine, and of the rest 20
    # agree (both-ruby 2 of 4, ruby-sun 3, sun-sea 3, all others), none not.
    # The grades 4, 4, 4, 3, 3, 2, 2, 1 tie 3 + 1 + 1 times.
    expected = 20 / math.sqrt((28 - 4) * (28 - 5))
    assert result.metrics['cosine_tau_b'] == pytest.approx(100 * expected)
    expected = 2 * 20 / (64 * 3 / 4)
    assert result.metrics['cosine_tau_c'] == pytest.approx(100 * expected)
    keys = [sample['key'] for sample in result.samples]
    assert keys == ['board-0 0#0', 'board-0 0#1', 'board-1 1#0', 'board-1 1#1']
    # 'a ruby' against 'ruby and sun' alone: its own copy is no reference.
    assert result.samples[1]['k_p'] == 50
    assert result.samples[0]['k_p'] == 80
    assert result.samples[3]['k_pna'] == 100
    assert set(result.metrics) == {
        f'{score}_tau_{kind}'
        for score in ('cosine', 'k_p', 'k_pna')
        for kind in 'bc'
    }
    assert set(result.chance.values()) == {0}


def test_k_precision_can_be_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, 'spacy', None)
    with pytest.raises(ImportError, match='faithfulness'):
        HumanJudgement(world())
    task = HumanJudgement(world(), k_precision=False)
    result = task.run(ColourModel((2, 2)))
    assert set(result.metrics) == {'cosine_tau_b', 'cosine_tau_c'}


def test_what_is_wrong_is_counted():
    source = world()
    source.judged[0].append(('', [1]))
    source.boards[1].broken = True
    result = HumanJudgement(source).run(ColourModel((2, 2)))
    assert result.skipped == {'broken pictures': 1, 'empty captions': 1}
    source.judged[0] = [('', [1])]
    with pytest.raises(ValueError, match='no caption was judged'):
        HumanJudgement(source).run(ColourModel((2, 2)))
    with pytest.raises(ValueError, match='Boards has no judgements; take'):
        HumanJudgement(Boards(source.boards))


def test_a_diverged_model_orders_nothing_and_is_reported():
    class Nan(ColourModel):
        def encode_image(self, images):
            found = super().encode_image(images)
            found.image[:] = torch.nan
            return found

    result = HumanJudgement(world()).run(Nan((2, 2)))
    assert result.metrics['cosine_tau_b'] == 0
    assert result.skipped == {'pairs whose embeddings are not finite': 4}


@pytest.mark.parametrize('judges', ['expert', 'crowdflower'])
def test_the_published_files(tmp_path, judges):
    source = Flickr8kJudgements(write_judgements(tmp_path), judges)

    class Longest(ColourModel):
        """Any picture, and captions by their number of words."""

        def encode_image(self, images):
            found = super().encode_image(images)
            found.image[:] = torch.tensor([1.0, 0, 0, 0])
            return found

        def encode_text(self, texts):
            found = super().encode_text(texts)
            for row, text in enumerate(texts):
                length = len(text.split())
                found.text[row] = torch.tensor([length, 1.0, 0, 0])
            return found

    result = HumanJudgement(source).run(Longest((2, 2)))
    judged = sum(len(source.judgements(n)) for n in range(2))
    assert len(result.samples) == judged
    # Experts: as long, and so as good. Crowd: 4, 6 and 6 words, judged 1,
    # 1/3 and 0: two pairs disagree, one ties.
    expected = 0 if judges == 'expert' else -100 * 2 / math.sqrt(6)
    assert result.metrics['cosine_tau_b'] == pytest.approx(expected)
