import math

import numpy as np
import pytest
from scipy import stats

from sparc_vlm.evaluation.statistics import Interval, Scores, bootstrap


def random_scores(seeds, samples, seed=0):
    return np.random.default_rng(seed).normal(50, 10, (seeds, samples))


def test_interval_of_a_mean_is_scipys():
    """One seed: the percentile interval that everyone computes."""
    values = random_scores(1, 150)
    ours = bootstrap(Scores(values), draws=8000)
    theirs = stats.bootstrap(
        (values[0],), np.mean, n_resamples=8000, method='percentile', rng=0
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.1)
    assert ours.high == pytest.approx(theirs.high, abs=0.1)


def test_interval_of_a_difference_is_scipys_on_pairs():
    """What is hard for both cancels out, since samples are shared."""
    hard = random_scores(1, 200)
    first = hard + 2 + random_scores(1, 200, 1) / 10
    ours = bootstrap(Scores(first), Scores(hard), draws=8000)
    theirs = stats.bootstrap(
        (first[0], hard[0]),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        paired=True,
        n_resamples=8000,
        method='percentile',
        rng=0,
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)
    assert ours.high - ours.low < 0.4
    assert ours.excludes_zero
    unpaired = bootstrap(Scores(first), Scores(hard[:, ::-1]))
    assert unpaired.high - unpaired.low > 2


def test_seeds_are_drawn_too():
    """Means of two drawn seeds are 0, 1/2 or 1, a quarter, a half, a quarter.

    They vary too little by a factor of 2, which is made up for.
    """
    found = bootstrap(Scores([[0.0], [1.0]]))
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - math.sqrt(0.5))
    assert found.high == pytest.approx(0.5 + math.sqrt(0.5))


@pytest.mark.parametrize(
    ('seeds', 'rarely', 'often'), [(2, 60, 80), (3, 70, 90)]
)
def test_the_interval_of_some_trainings_holds_their_mean(seeds, rarely, often):
    """Mostly; too rarely, as `docs/study.md` says."""
    random = np.random.default_rng(0)
    held = 0
    for trial in range(100):
        # Trainings differ by 2, samples within one by 5.
        values = random.normal(0, 2, (seeds, 1))
        values = values + random.normal(0, 5, (seeds, 300))
        found = bootstrap(Scores(values), draws=300, seed=trial)
        held += found.low <= 0 <= found.high
    assert rarely <= held <= often


def test_weighted_mean():
    scores = Scores([[10.0, 40.0, math.nan]], [[3, 1, 0]])
    assert bootstrap(scores).value == 70 / 4
    once = np.ones((1, 3))
    assert scores.metrics(once).tolist() == [[70 / 4]]
    # The second sample taken twice, the first not at all.
    assert scores.metrics(np.array([[0, 2, 1]])).tolist() == [[40]]


def test_mean_over_classes():
    """IoUs weighted by unions: class by class, then over classes."""
    values = [[[50.0, 100.0], [25.0, math.nan]]]
    weights = [[[10, 20], [30, 0]]]
    scores = Scores(values, weights)
    first = (50 * 10 + 25 * 30) / 40
    assert scores.metrics(np.ones((1, 2)))[0, 0] == (first + 100) / 2
    # Without the first sample nothing shows the second class.
    assert scores.metrics(np.array([[0, 2]]))[0, 0] == 25


def test_classes_that_many_draws_miss_do_not_move_the_interval():
    """A common class of IoU 20, and 30 rare ones of 80, a picture each."""
    values = np.full((1, 80, 31), 80.0)
    values[..., 0] = 20
    weights = np.zeros((1, 80, 31))
    weights[..., 0] = 1
    weights[0, np.arange(30), np.arange(1, 31)] = 1
    found = bootstrap(Scores(values, weights))
    assert found.value == pytest.approx((20 + 30 * 80) / 31)
    assert found.low < found.value < found.high


def test_a_class_that_is_found_but_not_shown_is_left_out():
    values = np.array([[[50.0, 80.0], [50.0, 0.0]]])
    shown = np.array([[True, True], [True, False]])
    scores = Scores(values, np.ones_like(values), shown=shown)
    drawn = np.array([[1.0, 1.0], [0.0, 2.0], [2.0, 0.0]])
    # Drawn twice, the second picture shows the first class alone.
    assert scores.metrics(drawn)[:, 0].tolist() == [45, 50, 65]
    assert scores.at([1]).metrics(np.array([[1.0]])).item() == 50


def test_draws_without_anything_that_counts_are_left_out():
    found = bootstrap(Scores([[7.0, 1.0]], [[1, 0]]))
    assert found == Interval(7.0, 7.0, 7.0)


def test_the_same_each_time_and_wider_for_a_higher_level():
    scores = Scores(random_scores(2, 30))
    assert bootstrap(scores) == bootstrap(scores)
    assert bootstrap(scores) != bootstrap(scores, seed=1)
    sure, unsure = bootstrap(scores, level=0.99), bootstrap(scores, level=0.5)
    assert sure.low < unsure.low < unsure.high < sure.high


@pytest.mark.parametrize(
    ('low', 'high', 'excludes'),
    [(0.1, 2, True), (-2, -0.1, True), (-1, 1, False), (0, 1, False)],
)
def test_excluding_zero(low, high, excludes):
    assert Interval(0.5, low, high).excludes_zero == excludes


@pytest.mark.parametrize(
    ('make', 'said'),
    [
        (lambda: Scores([1.0, 2.0]), 'scores are'),
        (lambda: Scores(np.zeros((0, 3))), 'not empty'),
        (lambda: Scores([[1.0]], [[1.0, 2.0]]), 'their weights'),
        (lambda: Scores([[math.nan]]), 'finite'),
        (lambda: Scores([[1.0]], [[-1.0]]), 'negative'),
        (lambda: bootstrap(Scores([[1.0]]), draws=0), 'draws is at least'),
        (lambda: bootstrap(Scores([[1.0]]), level=1.0), 'between 0 and 1'),
        (lambda: bootstrap(Scores([[1.0]], [[0.0]])), 'no sample counts'),
        (
            lambda: bootstrap(Scores([[1.0]]), Scores([[1.0, 2.0]])),
            '1 samples of one, 2 of the other',
        ),
    ],
)
def test_mistakes(make, said):
    with pytest.raises(ValueError, match=said):
        make()
