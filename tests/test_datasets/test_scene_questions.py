"""Questions of scenes have the answer that is given, and no other.

Read back by a grammar that knows nothing of how they were made.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache

import pytest

from sparc_vlm.datasets import Scenes
from sparc_vlm.datasets.scenes import SceneObject
from sparc_vlm.datasets.scenes.questions import KINDS, place_of
from tests.test_datasets import scene_grammar

SCENES = Scenes('val', size=32)
COUNT = 600
# Without its number: 'the' and 'a' are not always there in a question.
MENTION = re.compile(
    rf'\b(?:({"|".join(scene_grammar.SIZES)}) )?'
    rf'(?:({"|".join(scene_grammar.TEXTURES)}) )?'
    rf'(?:({"|".join(scene_grammar.COLOURS)}) )?'
    rf'({"|".join(scene_grammar.NOUNS)})\b'
)
NUMBERS = ['zero', 'one', 'two', 'three', 'four', 'five']


@cache
def asked():
    """Questions by their kind, with their scenes."""
    found = defaultdict(list)
    for index in range(COUNT):
        for question in SCENES.questions(index):
            found[question['kind']].append((SCENES.scene(index), question))
    return found


def named(scene, question):
    """For each thing that a question names, the objects that fit."""
    text = question['question']
    for idiom in ('which shape', 'kind of shape', 'small or large'):
        text = re.sub(idiom, '', text, flags=re.IGNORECASE)
    return [
        [
            thing
            for thing in scene.objects
            if all(
                not value or getattr(thing, name) == value
                for name, value in zip(
                    ('size', 'texture', 'colour', 'shape'),
                    (size, texture, colour, scene_grammar.NOUNS[noun]),
                    strict=True,
                )
            )
        ]
        for size, texture, colour, noun in MENTION.findall(text)
    ]


@pytest.mark.parametrize('kind', ['colour', 'shape', 'texture', 'size'])
def test_attributes(kind):
    for scene, question in asked()[kind]:
        (found,) = named(scene, question)
        assert len(found) == 1, question
        assert getattr(found[0], kind) == question['answer'], question
        # The answer is not in the question.
        words = question['question'].replace('small or large', '')
        words = words.replace('plain, striped, dotted or checkered', '')
        assert question['answer'] not in words.split(), question


def test_counts():
    for scene, question in asked()['count']:
        (found,) = named(scene, question)
        assert NUMBERS[len(found)] == question['answer'], question


def test_presence():
    answers = Counter()
    for scene, question in asked()['presence']:
        (found,) = named(scene, question)
        assert question['answer'] == ('yes' if found else 'no'), question
        answers[question['answer']] += 1
    assert answers['yes'] == COUNT
    assert answers['no'] == COUNT


def test_places():
    for scene, question in asked()['place']:
        ((thing,),) = named(scene, question)
        answer = question['answer']
        assert scene_grammar.is_at(thing, answer), question
        # What is said is all that can be said.
        sides = [s for s in ('left', 'right', 'top', 'bottom')]
        true = [s for s in sides if scene_grammar.is_at(thing, s)]
        assert sorted(answer.replace('middle', '').split()) == sorted(true)


def test_relations():
    names = 'left of,right of,above,below,front,behind,inside,around'
    for scene, question in asked()['relation']:
        (first,), (second,) = named(scene, question)
        true = [
            name
            for name in names.split(',')
            if scene_grammar.stands(scene, first, name, second)
        ]
        said = question['answer'].replace('in front', 'front')
        assert said in [name.removesuffix(' of') for name in true], question
        beside = {'left of', 'right of', 'above', 'below'}
        assert len(beside & set(true)) <= 1


def at(x, y):
    rgb = (0, 0, 0)
    return SceneObject('ring', 'red', 'plain', 'small', x, y, 0.1, 0, rgb, rgb)


def test_what_is_in_between_is_nowhere():
    assert place_of(at(0.2, 0.2)) == 'top left'
    assert place_of(at(0.2, 0.5)) == 'left'
    assert place_of(at(0.5, 0.9)) == 'bottom'
    assert place_of(at(0.5, 0.5)) == 'middle'
    assert place_of(at(0.36, 0.5)) is None
    assert place_of(at(0.2, 0.63)) is None


def test_scene_decides():
    again = Scenes('val', size=64)
    assert [again.questions(i) for i in (7, 3)] == [
        SCENES.questions(7),
        SCENES.questions(3),
    ]
    assert Scenes('val', seed=1).questions(3) != SCENES.questions(3)
    before = SCENES.captions(5)
    SCENES.questions(5)
    assert SCENES.captions(5) == before


def test_kinds_wordings_and_answers_vary():
    assert set(asked()) == set(KINDS)
    for kind, rows in asked().items():
        assert len(rows) > 0.6 * COUNT, kind
        openings = {q['question'].split()[0:2][1] for _, q in rows}
        assert len(openings) > 1, kind
        commonest = Counter(q['answer'] for _, q in rows).most_common(1)[0][1]
        assert commonest < 0.65 * len(rows), kind
