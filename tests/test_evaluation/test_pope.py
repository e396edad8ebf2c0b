"""POPE: which questions are asked, how answers are read, what they score."""

from __future__ import annotations

from collections import Counter

import pytest
from sklearn import metrics as sklearn_metrics

from sparc_vlm.datasets import Scenes
from sparc_vlm.evaluation import POPE
from sparc_vlm.evaluation.pope import (
    KINDS,
    PAPER_KINDS,
    ask,
    says_yes,
    tally,
)
from sparc_vlm.evaluation.samples import scores_of
from sparc_vlm.evaluation.statistics import bootstrap
from sparc_vlm.registry import TASKS
from sparc_vlm.study import build_tasks, task_config
from tests.test_evaluation.caption_world import Parrot, Photo, Photos

SHOWN = {
    0: ['dog', 'ball', 'dog'],
    1: ['dog', 'ball'],
    2: ['dog', 'cat'],
    3: ['cat', 'sofa'],
    4: ['cat'],
    5: ['cat'],
    6: ['tie'],
}
PHOTOS = Photos(
    [
        Photo([], {name: [[0, 0, 9, 9]] for name in own})
        for own in SHOWN.values()
    ]
)


@pytest.mark.parametrize('kind', KINDS)
def test_as_many_yes_as_no(kind):
    asked = ask(SHOWN, kind, per_picture=2, seed=3)
    assert sum(one.is_there for one in asked) * 2 == len(asked)
    for one in asked:
        assert (one.name in SHOWN[one.picture]) == one.is_there
    keys = [(one.picture, one.name) for one in asked]
    assert len(keys) == len(set(keys))
    assert asked == ask(SHOWN, kind, per_picture=2, seed=3)


def absent(kind, picture, **options):
    asked = ask(SHOWN, kind, **options)
    return [a.name for a in asked if a.picture == picture and not a.is_there]


def test_popular_and_adversarial_by_hand():
    """Four pictures have a cat, three a dog, two a ball."""
    assert absent('popular', 6) == ['cat']
    assert absent('popular', 4) == ['dog']
    assert absent('popular', 0) == ['cat', 'sofa']
    # Of what goes with a cat: dog and sofa once each, the dog is commoner.
    assert absent('adversarial', 4) == ['dog']
    # With a dog go two balls and one cat; with a ball only dogs.
    assert set(absent('adversarial', 1)) == {'cat', 'sofa'}
    # With a sofa goes a cat alone, which is there: the commonest is taken.
    assert absent('adversarial', 3, per_picture=5)[0] in ('dog', 'ball')
    others = {tuple(absent('random', 6, seed=seed)) for seed in range(20)}
    assert others == {('cat',), ('dog',), ('ball',), ('sofa',)}


def test_all_kinds_ask_for_the_same_that_is_there():
    there = [
        [(a.picture, a.name) for a in ask(SHOWN, kind, 1) if a.is_there]
        for kind in KINDS
    ]
    assert all(own == there[0] for own in there)


def test_similar_by_hand():
    names = 'red circle', 'red square', 'blue circle', 'blue square', 'pole'
    shown = dict(enumerate([['red circle'], *([name] for name in names)]))
    asked = {seed: ask(shown, 'similar', seed=seed)[:2] for seed in range(30)}
    assert {there.name for there, _ in asked.values()} == {'red circle'}
    assert {other.name for _, other in asked.values()} == {
        'red square',
        'blue circle',
    }
    # A pole is like nothing: any will do.
    last = {ask(shown, 'similar', seed=seed)[-1].name for seed in range(60)}
    assert last == set(names) - {'pole'}


def right_by_names_alone(kind):
    """Answers to half of the scenes, learned from names in the others."""
    source = Scenes('test', size=16, num_images=400)
    asked = ask(
        {i: [o.name for o in source.scene(i).objects] for i in range(400)},
        kind,
    )
    seen = Counter()
    for one in asked:
        if one.picture < 200:
            seen[one.name] += 1 if one.is_there else -1
    rest = [one for one in asked if one.picture >= 200]
    right = sum((seen[one.name] >= 0) == one.is_there for one in rest)
    return 100 * right / len(rest)


def test_names_of_scenes_tell_no_answer():
    for kind in ('random', 'similar'):
        assert right_by_names_alone(kind) == pytest.approx(50, abs=6)
    assert right_by_names_alone('popular') > 90


def test_what_may_be_there_is_never_said_not_to_be():
    unsure = {6: ['cat'], 4: ['dog']}
    for kind in KINDS:
        assert 'cat' not in absent(kind, 6, per_picture=9, unsure=unsure)
        assert 'dog' not in absent(kind, 4, per_picture=9, unsure=unsure)
    assert absent('popular', 0, unsure=unsure) == absent('popular', 0)


def test_what_people_name_is_never_said_not_to_be_there():
    """A puppy is a dog, in COCO's words; other classes have no words."""
    photos = [
        Photo(['two puppies and a cat'], {'cat': [[0, 0, 9, 9]]}),
        Photo(['a dog'], {'dog': [[0, 0, 9, 9]]}),
        Photo(['a red wug'], {'wug': [[0, 0, 9, 9]]}),
    ]
    for classes, other in ((['cat', 'dog', 'wug'], 'wug'), ([], 'dog')):
        asked = set()

        def answer(picture, question, asked=asked):
            asked.add((picture, question))
            return 'no'

        task = POPE(Photos(photos, classes), kinds=('popular',))
        task.run(Parrot(answers=answer))
        assert {question for picture, question in asked if not picture} == {
            'Is there a cat in the image?',
            f'Is there a {other} in the image?',
        }


def test_wording():
    first, second = ask({0: ['elephant'], 1: ['dog']}, 'popular')[:2]
    assert first.text == 'Is there an elephant in the image?'
    assert second.text == 'Is there a dog in the image?'


def test_nothing_is_asked_where_all_classes_are():
    assert ask({0: ['dog'], 1: ['dog']}, 'random') == []


@pytest.mark.parametrize(
    ('answer', 'said'),
    [
        ('Yes', True),
        ('yes, there is no doubt', True),
        ('No.', False),
        ('No, but yes', False),
        ('The answer is: YES!', True),
        ("I don't see one", False),
        ("There isn't", False),
        ('There is not a dog', False),
        ('There is a dog', True),
        ('There is a dog. It is not alone.', True),
        ('There is a dog with nothing else.', True),
        ('There is no dog. There is a cat.', False),
        ('A good question. Yes, there is.', True),
        ('I can see a dog', True),
        ('There’s none', False),
        ('nowhere, yesterday, noble', None),
        ('a dog', None),
        ('', None),
    ],
)
def test_answers_are_read(answer, said):
    assert says_yes(answer) is said


def test_tally_is_sklearns():
    truth = [True, True, True, False, False, False, False]
    said = [True, False, True, True, False, False, True]
    found = tally(list(zip(truth, said, strict=True)))
    for key in ('accuracy', 'precision', 'recall', 'f1'):
        score = getattr(sklearn_metrics, f'{key}_score')
        assert found[key] == pytest.approx(100 * score(truth, said))
    assert found['yes'] == pytest.approx(100 * 4 / 7)
    unclear = tally([(True, None), (False, None)])
    assert unclear['accuracy'] == unclear['recall'] == unclear['yes'] == 0
    assert unclear['precision'] is None


def knows(picture, question):
    return 'Yes' if any(n in question for n in SHOWN[picture]) else 'No'


def test_a_model_that_knows():
    result = POPE(PHOTOS, kinds=KINDS).run(Parrot(answers=knows))
    for kind in KINDS:
        for key in ('accuracy', 'precision', 'recall', 'f1'):
            assert result.metrics[f'{kind}_{key}'] == 100
        assert result.metrics[f'{kind}_yes'] == 50
    assert set(result.chance.values()) == {50}
    assert not result.skipped


def test_kinds_of_the_paper_unless_others_are_named():
    assert POPE(PHOTOS).kinds == PAPER_KINDS == KINDS[:3]
    flag = 'pope:scenes:,size=16,num_images=9,kinds=random,similar'
    (task,) = build_tasks([task_config(flag)])
    assert task.kinds == ('random', 'similar')
    assert len(task.source) == 9


def test_a_model_that_always_agrees():
    result = POPE(PHOTOS).run(Parrot(answers=lambda *_: 'Yes.'))
    assert result.metrics['adversarial_accuracy'] == 50
    assert result.metrics['adversarial_recall'] == 100
    assert result.metrics['adversarial_yes'] == 100


def test_unclear_answers_and_broken_pictures_are_counted():
    torn = Photo([], {'dog': [[0, 0, 9, 9]]}, broken=True)
    photos = Photos([*PHOTOS.photos, Photo([]), torn])
    result = POPE(photos, kinds=['random']).run(
        Parrot(answers=lambda *_: 'Hm')
    )
    assert result.skipped['pictures with nothing to ask'] == 1
    assert result.skipped['broken pictures'] == 1
    assert result.skipped['answers that are neither yes nor no'] > 5
    assert 'random_precision' not in result.metrics


def test_metrics_can_be_drawn_anew():
    """Every one is a weighted mean of pictures, F1 included."""

    def often(picture, question):
        return 'Yes' if len(question) % 3 else knows(picture, question)

    result = POPE(PHOTOS).run(Parrot(answers=often))
    for key, value in result.metrics.items():
        scores, keys = scores_of(key, [result.to_json()])
        assert len(keys) == len(PHOTOS)
        interval = bootstrap(scores, draws=50)
        assert interval.value == pytest.approx(value)


def test_scenes_and_registry():
    dataset = dict(type='Scenes', split='val', size=32, num_images=10)
    task = TASKS.build(dict(type='POPE', dataset=dataset))
    source = Scenes('val', size=32, num_images=10)

    class Seer:
        def answer(self, images, questions):
            index = self.at
            names = [row['name'] for row in source.boxes(index)]
            return [
                'yes' if any(f' {n} ' in q for n in names) else 'no'
                for q in questions
            ]

    seer = Seer()
    pictures = {source.image(i).tobytes(): i for i in range(10)}
    answer = seer.answer

    def look(images, questions):
        seer.at = pictures[images[0].tobytes()]
        return answer(images, questions)

    seer.answer = look
    result = task.run(seer)
    assert result.metrics['adversarial_accuracy'] == 100
    assert len(result.samples) == 10


def test_what_is_wrong_is_said():
    class NoBoxes:
        def __len__(self):
            return 1

    with pytest.raises(ValueError, match='NoBoxes has no boxes'):
        POPE(NoBoxes())
    with pytest.raises(ValueError, match='kinds are some of random.*similar'):
        POPE(PHOTOS, kinds=['easy'])
    with pytest.raises(ValueError, match='kinds are some of random'):
        POPE(PHOTOS, kinds='similar,')
    with pytest.raises(ValueError, match='no picture has a box'):
        POPE(Photos([Photo([])])).run(Parrot())
