"""An arm's numbers against the baseline's, by hand-worked sheets."""

from __future__ import annotations

import pytest

from sparc_vlm.study.metrics import compared_metrics
from sparc_vlm.study.titles import compared


def sheets(*hits, first=0):
    """What one seed found: 100 or 0 of each sample."""
    samples = [
        {'key': str(first + place), 'hit': hit}
        for place, hit in enumerate(hits)
    ]
    metrics = {'hit': sum(hits) / len(hits)}
    return {0: {'task': {'metrics': metrics, 'samples': samples}}}


def difference(own, base):
    return compared_metrics(own, base)['task']['hit']['difference']


def test_a_difference_is_over_what_both_were_measured_on():
    base = sheets(*[100] * 45 + [0] * 5 + [0] * 50)  # 45 of 100, 45 of 50
    own = sheets(*[100] * 40 + [0] * 10)  # 40 of the first 50
    found = difference(own, base)
    assert found['mean'] == pytest.approx(-10)  # and not 80 - 45
    low, high = found['interval']
    assert low < found['mean'] < high < 0


def test_a_few_samples_have_no_interval():
    found = difference(sheets(*[100] * 9), sheets(*[0] * 9))
    assert found == {'mean': 100, 'interval': None}
    found = difference(sheets(*[100] * 10), sheets(*[0] * 10))
    assert found == {'mean': 100, 'interval': [100, 100]}


def test_nothing_shared_leaves_the_difference_of_means():
    found = difference(sheets(*[100] * 20), sheets(*[50] * 20, first=20))
    assert found == {'mean': 50, 'interval': None}


def test_metrics_that_were_asked_for_are_shown():
    there = ['i2t_r1', 't2i_r1', 'i2t_r3', 'fold_i2t_r1', 'other']
    shown = ['i2t_r1', 't2i_r1', 'i2t_r3', 'fold_i2t_r1']
    assert compared('Retrieval', there) == shown
    assert compared('Grounding', ['recall_merged', 'recall']) == [
        'recall',
        'recall_merged',
    ]
