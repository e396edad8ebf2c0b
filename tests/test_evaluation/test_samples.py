import numpy as np
import pytest

from sparc_vlm.evaluation import Pointing, Retrieval, Segmentation
from sparc_vlm.evaluation.samples import paired, scores_of
from sparc_vlm.evaluation.statistics import bootstrap
from tests.test_evaluation.colour_world import ColourModel, some_boards


def result(metrics, *samples):
    keyed = [{'key': str(n), **sample} for n, sample in enumerate(samples)]
    return {'metrics': metrics, 'samples': keyed}


def metric_of(scores):
    return scores.metrics(np.ones((1, scores.samples)))[0].tolist()


def test_a_plain_mean():
    one = result({'hit': 50.0}, {'hit': 100.0}, {'hit': 0.0})
    scores, keys = scores_of('hit', [one])
    assert scores.values.tolist() == [[100, 0]]
    assert keys == ['0', '1']


def test_shares_and_truths_become_percent():
    one = result({'hit': 50.0}, {'hit': True}, {'hit': False})
    assert scores_of('hit', [one])[0].values.tolist() == [[100, 0]]
    one = result({'hit': 40.0}, {'hit': 0.7}, {'hit': 0.1})
    assert metric_of(scores_of('hit', [one])[0]) == pytest.approx([40])


def test_weighted_by_a_count_or_the_length_of_a_list():
    """Of 3 words one was hit, of 1 word one."""
    samples = {'hit': 1 / 3, 'words': 3}, {'hit': 1.0, 'words': 1}
    scores, _ = scores_of('hit', [result({'hit': 50.0}, *samples)])
    assert scores.weights.tolist() == [[3, 1]]
    samples = {'hit': 1 / 3, 'words': ['a', 'b', 'c']}, {'hit': 1, 'words': ''}
    assert scores_of('hit', [result({'hit': 50.0}, *samples)]) is None
    samples[1]['words'] = ['d']
    scores, _ = scores_of('hit', [result({'hit': 50.0}, *samples)])
    assert scores.weights.tolist() == [[3, 1]]


def test_samples_that_were_not_asked_do_not_count():
    one = result({'hit': 30.0}, {'hit': 30.0}, {'hit': None}, {})
    scores, _ = scores_of('hit', [one])
    assert scores.weights.tolist() == [[1, 0, 0]]


def test_what_does_not_add_up_is_not_taken():
    one = result({'hit': 33.0}, {'hit': 100.0}, {'hit': 0.0})
    assert scores_of('hit', [one]) is None
    assert scores_of('other', [one]) is None
    assert scores_of('hit', [result({'hit': 1.0})]) is None


def test_mean_iou_from_pixels():
    """a: 2 of 4 + 1 of 1; b: 0 of 3; a false c is of no class shown."""
    one = result(
        {'miou': 100 * (3 / 5 + 0) / 2},
        {'classes': {'a': {}}, 'pixels': {'miou': {'a': [2, 4], 'c': [0, 9]}}},
        {
            'classes': {'a': {}, 'b': {}},
            'pixels': {'miou': {'a': [1, 1], 'b': [0, 3]}},
        },
    )
    scores, _ = scores_of('miou', [one])
    assert metric_of(scores) == pytest.approx([30])
    assert scores.weights.tolist() == [[[4, 0], [1, 3]]]
    one['metrics']['miou'] = 31.0
    assert scores_of('miou', [one]) is None


def test_pairs_are_found_by_key():
    ours = result({'hit': 20.0}, {'hit': 10.0}, {'hit': 30.0})
    theirs = result({'hit': 15.0}, {'hit': 20.0}, {'hit': 10.0})
    theirs['samples'][0]['key'], theirs['samples'][1]['key'] = '1', '7'
    first, second = paired('hit', [ours], [theirs])
    assert first.values.tolist() == [[30]]
    assert second.values.tolist() == [[20]]
    theirs['samples'][0]['key'] = '8'
    assert paired('hit', [ours], [theirs]) is None


def test_keys_that_repeat_are_told_apart():
    ours = result({'hit': 20.0}, {'hit': 10.0}, {'hit': 30.0})
    for sample in ours['samples']:
        sample['key'] = 'same'
    assert scores_of('hit', [ours])[1] == ['same', 'same (2)']


def test_samples_of_one_picture_are_drawn_together():
    """They are all right or all wrong: four pictures, not twelve samples."""
    hits = [100.0, 0.0, 100.0, 100.0]
    samples = [
        {'key': f'{picture}#{number}', 'hit': hit, 'words': 1 + number}
        for picture, hit in enumerate(hits)
        for number in range(3)
    ]
    one = result({'hit': 75.0}, *samples)
    scores, keys = scores_of('hit', [one])
    assert keys == ['0', '1', '2', '3']
    assert scores.values.tolist() == [hits]
    assert metric_of(scores) == pytest.approx([75])
    # Weighted by words: of six of the first picture one is wrong now.
    samples[0]['hit'] = 0.0
    one = result({'hit': 100 * 17 / 24}, *samples)
    scores, _ = scores_of('hit', [one])
    assert scores.weights.tolist() == [[6] * 4]
    assert scores.values[0].tolist() == pytest.approx([500 / 6, 0, 100, 100])
    assert metric_of(scores) == pytest.approx([100 * 17 / 24])


def test_a_sample_may_say_which_picture_it_is_of():
    rows = [('fog/1/a', 'a'), ('fog/1/b', 'b'), ('snow/1/a', 'a')]
    samples = [
        {'key': key, 'picture': picture, 'hit': hit}
        for (key, picture), hit in zip(rows, (100.0, 0.0, 0.0), strict=True)
    ]
    scores, pictures = scores_of('hit', [result({'hit': 100 / 3}, *samples)])
    assert pictures == ['a', 'b']
    assert scores.values.tolist() == [[50, 0]]
    assert scores.weights.tolist() == [[2, 1]]
    assert metric_of(scores) == pytest.approx([100 / 3])


def test_a_mark_in_the_name_of_a_file_joins_nothing():
    samples = [{'key': f'img#{n}.jpg', 'hit': 1.0 * n} for n in range(3)]
    _, pictures = scores_of('hit', [result({'hit': 1.0}, *samples)])
    assert pictures == ['img#0.jpg', 'img#1.jpg', 'img#2.jpg']


def test_pictures_are_paired_whatever_samples_they_have():
    ours, theirs = (
        result({'hit': 50.0}, *({'key': key, 'hit': hit} for key, hit in rows))
        for rows in (
            [('a#0', 100.0), ('a#1', 0.0), ('b#0', 50.0)],
            [('b#0', 100.0), ('c#0', 0.0)],
        )
    )
    first, second = paired('hit', [ours], [theirs])
    assert first.values.tolist() == [[50]]
    assert second.values.tolist() == [[100]]


@pytest.mark.parametrize(
    'task',
    [
        Retrieval(some_boards(20)),
        Segmentation(some_boards(20)),
        Pointing(some_boards(20)),
    ],
    ids=['retrieval', 'segmentation', 'pointing'],
)
def test_every_metric_of_the_tasks_can_be_taken_apart(task):
    """What is compared is what was reported, also of a model that errs."""
    for shift in (0, 1):
        found = task.run(ColourModel(grid=(3, 3), dense_shift=shift))
        for metric, value in found.metrics.items():
            scores, keys = scores_of(metric, [found.to_json()])
            assert metric_of(scores) == pytest.approx([value], rel=1e-4)
            assert len(keys) == 20
            interval = bootstrap(scores, draws=200)
            assert interval.low - 1e-6 <= value <= interval.high + 1e-6


def test_segmentation_among_all_classes_as_well():
    boards = some_boards(12)
    boards.classes = ['ruby', 'leaf', 'sea', 'sun', 'moon']
    task = Segmentation(boards, candidates='both')
    found = task.run(ColourModel(grid=(3, 3), dense_shift=1)).to_json()
    for metric, value in found['metrics'].items():
        scores, _ = scores_of(metric, [found])
        assert metric_of(scores) == pytest.approx([value], rel=1e-4)
