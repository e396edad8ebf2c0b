"""Questions whether something is there are right, and pay no guess."""

from __future__ import annotations

from collections import Counter

import numpy as np

from sparc_vlm.captioning.conversations import DESCRIBE, Talk
from sparc_vlm.captioning.presence import Presence, has_boxes
from sparc_vlm.datasets.readers.coco import CocoCaptions
from sparc_vlm.evaluation.pope import says_yes
from tests.test_datasets.made import ListSource, write_coco

CLASSES = ['person', 'dog', 'cat', 'toaster', 'giraffe']
BOXED = {0: ['person', 'dog', 'dog'], 1: ['person'], 2: ['cat', 'person']}


class BoxedSource(ListSource):
    """Pictures with boxes, the last ones without any; crowds on the second."""

    classes = CLASSES

    def boxes(self, index):
        return [{'name': name} for name in BOXED.get(index, [])]

    def crowds(self, index):
        return ['cat'] if index == 1 else []


def source(texts=None):
    return BoxedSource(count=5, texts=texts)


def asked(presence, index):
    """The classes that are asked for, by the right answer."""
    found = {'yes': [], 'no': []}
    for one in presence.questions(index):
        *_, name, _, _, _ = one['question'].split()
        found[one['answer']].append(name)
    return found


def test_each_class_once_and_as_many_that_are_not_there():
    presence = Presence(source())
    found = asked(presence, 0)
    assert found == {'yes': ['person', 'dog'], 'no': ['cat']}
    assert asked(presence, 2) == {'yes': ['cat', 'person'], 'no': ['dog']}
    first, *_ = presence.questions(0)
    assert first == {
        'kind': 'presence',
        'question': 'Is there a person in the image?',
        'answer': 'yes',
    }
    assert says_yes('yes')
    assert says_yes('no') is False
    assert presence.questions(3) == []
    assert Presence(source()).questions(0) == presence.questions(0)


def test_what_may_be_there_is_not_asked_for():
    # A crowd, and what people name.
    presence = Presence(source({1: ['a man and his puppy']}))
    assert asked(presence, 1) == {'yes': ['person'], 'no': []}
    assert asked(Presence(source({1: ['a man']})), 1)['no'] == ['dog']


def test_what_is_common_is_asked_for_in_vain_as_often():
    """A name that is on many pictures is drawn for many where it is not."""
    many = source()
    names = ['dog'] * 300 + ['cat'] * 100 + ['person'] * 400
    many.count = len(names)
    many.boxes = lambda index: [{'name': names[index]}]
    many.captions = lambda index: []
    presence = Presence(many)
    vain = Counter(
        name
        for index in range(400, 800)
        for name in asked(presence, index)['no']
    )
    # Three of four; three standard errors are 26.
    assert set(vain) == {'dog', 'cat'}
    assert abs(vain['dog'] - 300) < 26


def test_a_picture_without_boxes_is_described(tmp_path):
    rng = np.random.default_rng(0)
    talk = Talk(source(), questions=1.0)
    ((_, first), (_, answer)) = talk.draw(0, rng).turns
    assert first.startswith('Is there a ')
    assert answer in ('yes', 'no')
    ((_, first), _) = talk.draw(4, rng).turns
    assert first == DESCRIBE


def test_coco_has_boxes_where_instances_are_given(tmp_path):
    root = write_coco(tmp_path)
    captions, instances = (
        root / 'annotations' / f'{kind}_train.json'
        for kind in ('captions', 'instances')
    )
    images = root / 'images_train.zip'
    assert not has_boxes(CocoCaptions(captions, images))
    coco = CocoCaptions(captions, images, instances)
    assert has_boxes(coco)
    assert set(asked(Presence(coco), 0)['yes']) == {'dog', 'grass'}
    turns = Talk(coco, questions=1.0).draw(0, np.random.default_rng(0)).turns
    assert turns[1][1] in ('yes', 'no')
