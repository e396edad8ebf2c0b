"""Average precision of drawn pictures, by hand; the libraries are asked in
tests/test_detection."""

from __future__ import annotations

import numpy as np
import pytest

from sparc_vlm.evaluation.average_precision import (
    THRESHOLDS,
    Part,
    part_of,
    precision_scores,
)
from sparc_vlm.evaluation.samples import paired, scores_of
from sparc_vlm.evaluation.statistics import bootstrap

ALL = 2 ** len(THRESHOLDS) - 1
"""Right at every overlap."""


def sample(key, *found, objects=(), ignored=None):
    """A picture: (label, score, right) of what was found; what is there."""
    labels, scores, right = zip(*found, strict=True) if found else [()] * 3
    ignored = ignored or [0] * len(found)
    boxes = {
        'labels': list(labels),
        'scores': list(scores),
        'right': {'all': list(right)},
        'ignored': {'all': ignored},
        'objects': {'all': list(objects)},
    }
    return {'key': key, 'boxes': boxes}


def result(*samples, groups=None, **metrics):
    return {'metrics': metrics, 'groups': groups or {}, 'samples': samples}


def metric(*samples, counts=None, name='ap', groups=None):
    """The metric of pictures that are taken so many times."""
    scores = precision_scores(name, [{'groups': groups or {}}], [samples])
    counts = np.ones((1, len(samples))) if counts is None else [counts]
    return scores.metrics(np.array(counts, float))[0, 0]


FIRST = sample('a', (0, 0.9, ALL), (0, 0.6, 0), objects=[0])
SECOND = sample('b', (0, 0.8, 0), (0, 0.7, ALL), objects=[0, 0])


def test_by_hand():
    """Right, wrong, right, wrong; one of three objects is never found.

    Precision is 1 up to a recall of 1/3, 2/3 up to 2/3, then 0: of 101
    recalls 34, 33 and 34.
    """
    expected = 100 * (34 * 1 + 33 * 2 / 3) / 101
    assert metric(FIRST, SECOND) == pytest.approx(expected)


def test_a_picture_twice_and_one_not_at_all():
    """Two right, two wrong of the first; 101 recalls at a precision of 1."""
    assert metric(FIRST, SECOND, counts=[2, 0]) == pytest.approx(100)
    # Wrong twice, right twice of four: a half up to a recall of a half.
    expected = 100 * 51 * 0.5 / 101
    assert metric(FIRST, SECOND, counts=[0, 2]) == pytest.approx(expected)


def test_overlaps_have_a_bit_each():
    one = sample('a', (0, 0.9, 0b0000100001), objects=[0])
    assert metric(one) == pytest.approx(20)
    assert metric(one, name='ap50') == pytest.approx(100)
    assert metric(one, name='ap75') == pytest.approx(100)
    other = sample('a', (0, 0.9, 0b0000000011), objects=[0])
    assert metric(other, name='ap75') == 0


def test_what_does_not_count_is_as_if_it_was_not_there():
    there = sample(
        'a', (0, 0.9, 0), (0, 0.8, ALL), objects=[0], ignored=[ALL, 0]
    )
    assert metric(there) == pytest.approx(100)
    # At half of the overlaps it counts, and is wrong.
    there = sample(
        'a', (0, 0.9, 0), (0, 0.8, ALL), objects=[0], ignored=[0b11111, 0]
    )
    assert metric(there) == pytest.approx(75)


def test_classes_count_alike_and_one_that_is_not_drawn_is_left_out():
    many = sample('a', (0, 0.9, ALL), objects=[0])
    few = sample('b', (1, 0.9, 0), objects=[1])
    assert metric(many, few) == pytest.approx(50)
    assert metric(many, few, counts=[3, 1]) == pytest.approx(50)
    assert metric(many, few, counts=[1, 0]) == pytest.approx(100)
    assert np.isnan(metric(many, few, counts=[0, 0]))
    # What was found of a class that is nowhere changes nothing.
    false = sample('c', (7, 0.99, 0))
    assert metric(many, few, false) == pytest.approx(50)
    groups = {'rare': [1], 'frequent': [0]}
    assert metric(many, few, name='ap_rare', groups=groups) == 0
    frequent = metric(many, few, name='ap_frequent', groups=groups)
    assert frequent == pytest.approx(100)


@pytest.mark.parametrize(
    ('name', 'part'),
    [
        ('ap', Part('boxes')),
        ('ap75', Part('boxes', thresholds=(5,))),
        ('ap_small', Part('boxes', 'small')),
        ('ap_rare', Part('boxes', group='rare')),
        ('mask_ap', Part('masks')),
        ('mask_ap50', Part('masks', thresholds=(0,))),
        ('mask_ap_large', Part('masks', 'large')),
    ],
)
def test_what_a_metric_is_about(name, part):
    assert part_of(name, {'rare': [0]}) == part


def test_metrics_are_taken_apart_where_samples_give_them_back():
    exact = metric(FIRST, SECOND)
    scores, keys = scores_of('ap', [result(FIRST, SECOND, ap=exact)])
    assert keys == ['a', 'b']
    assert scores.seeds == 1
    assert scores.samples == 2
    assert scores_of('ap', [result(FIRST, SECOND, ap=exact + 1)]) is None
    # Of masks, or of areas, nothing was kept.
    one = result(FIRST, SECOND, mask_ap=exact, ap_small=exact)
    assert scores_of('mask_ap', [one]) is None
    assert scores_of('ap_small', [one]) is None


def test_pairs_are_found_by_key():
    ours = [result(FIRST, SECOND, ap=metric(FIRST, SECOND))]
    third = sample('c', (0, 0.9, ALL), objects=[0])
    theirs = [result(third, SECOND, FIRST, ap=metric(third, SECOND, FIRST))]
    first, second = paired('ap', ours, theirs)
    counts = np.array([[1.0, 1.0], [2.0, 0.0], [1.0, 3.0]])
    assert np.array_equal(first.metrics(counts), second.metrics(counts))
    assert first.metrics(counts)[1] == pytest.approx([100])


def boards(seed, right):
    """Twenty pictures of four classes, as many found as chance wants."""
    random = np.random.default_rng(seed)
    hard = np.random.default_rng(0).random(20)
    made = []
    for number in range(20):
        objects = [number % 4, (number + 1) % 4]
        found = [
            (label, float(random.random()), ALL * bool(hit))
            for label in objects
            for hit in (random.random() < right * hard[number], False)
        ]
        made.append(sample(str(number), *found, objects=objects))
    return made


def test_intervals_of_a_metric_and_of_a_difference():
    """Around the number, the same each time, over pictures and seeds."""
    good = [boards(seed, 1.0) for seed in (1, 2)]
    poor = [boards(seed, 0.4) for seed in (3, 4)]
    ours, theirs = (
        [result(*own, ap=metric(*own)) for own in seeds]
        for seeds in (good, poor)
    )
    scores, _ = scores_of('ap', ours)
    own = bootstrap(scores)
    assert own == bootstrap(scores)
    assert own.value == pytest.approx(np.mean([metric(*b) for b in good]))
    assert own.low < own.value < own.high
    difference = bootstrap(*paired('ap', ours, theirs))
    assert difference.value == pytest.approx(
        own.value - np.mean([metric(*b) for b in poor])
    )
    assert difference.excludes_zero
    same = bootstrap(*paired('ap', ours[:1], ours[:1]))
    assert same.low == same.high == 0


def test_intervals_are_not_moved_by_pictures_that_are_drawn_twice():
    """Draws lie higher than the number itself, and the interval does not."""
    scores, _ = scores_of(
        'ap', [result(*(own := boards(1, 0.7)), ap=metric(*own))]
    )
    random = np.random.default_rng(0)
    counts = random.multinomial(20, [1 / 20] * 20, size=400).astype(float)
    drawn = scores.metrics(counts)[:, 0]
    value = metric(*own)
    assert drawn.mean() > value + 1
    found = bootstrap(scores, draws=400)
    middle = (found.low + found.high) / 2
    assert abs(middle - value) < drawn.mean() - value
