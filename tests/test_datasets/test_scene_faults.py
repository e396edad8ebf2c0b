"""Sentences about scenes are read back, and checked to the last attribute."""

from __future__ import annotations

from collections import Counter

import pytest

from sparc_vlm.datasets import Scenes
from sparc_vlm.datasets.scenes import (
    Backdrop,
    Mention,
    Place,
    Relation,
    Scene,
    SceneObject,
    Total,
)
from sparc_vlm.datasets.scenes.backgrounds import Background
from sparc_vlm.datasets.scenes.faults import elsewhere, find_faults
from sparc_vlm.datasets.scenes.reading import read_claims

SCENES = Scenes('val', size=32)
RED = Mention(1, 'circle', 'red')


def test_captions_are_read_back():
    for index in range(300):
        for caption in SCENES.claims(index):
            reading = read_claims(caption.text)
            assert Counter(reading.claims) == Counter(caption.claims)
            assert reading.unread == ()


@pytest.mark.parametrize(
    ('text', 'claims', 'unread'),
    [
        ('A RED circle.', [RED], 0),
        ('red circles', [RED], 0),
        ('Six circles', [Mention(6, 'circle')], 0),
        ('2 red circles', [Mention(2, 'circle', 'red')], 0),
        ('12 shapes in all', [Total(12)], 0),
        ('two circles that are red', [Mention(2, 'circle')], 2),
        # Any order of attributes; the last of two colours.
        (
            'a red small circle',
            [Mention(1, 'circle', 'red', None, 'small')],
            0,
        ),
        ('a blue red circle', [RED], 0),
        (
            'There is a red circle to the left of a big ring. It is nice',
            [Relation(RED, 'left of', Mention(1, 'ring', size='large'))],
            2,
        ),
        ('a red circle is on the left', [Place(RED, 'left')], 0),
        (
            'a red circle in the top left of the picture',
            [Place(RED, 'top left')],
            3,
        ),
        ('a red circle in the top left of it', [RED], 6),
        # Nobody knows left of what.
        ('a red circle on the left of a dog', [RED], 6),
        ('two shapes in all', [Total(2)], 0),
        ('two shapes, snow at night', [Mention(2)], 3),
        (
            'on snow at night, a red circle',
            [Backdrop('on snow at night'), RED],
            0,
        ),
        ('dogs and cats', [], 2),
        ('', [], 0),
    ],
)
def test_what_others_write(text, claims, unread):
    reading = read_claims(text)
    assert list(reading.claims) == claims
    assert len(reading.unread) == unread


def thing(colour, shape, x, y=0.5, size='small', texture='plain'):
    rgb = (0, 0, 0)
    return SceneObject(shape, colour, texture, size, x, y, 0.1, 0, rgb, rgb)


SCENE = Scene(
    (
        thing('red', 'circle', 0.2, 0.45),
        thing('blue', 'square', 0.5, 0.55, 'large', 'striped'),
        thing('green', 'star', 0.8, 0.2),
        thing('green', 'star', 0.8, 0.8),
    ),
    Background('plain', 'cream', ((240, 228, 198),), 0.5, 0),
)


@pytest.mark.parametrize(
    ('text', 'said', 'false', 'missed'),
    [
        ('a red circle', 'objects 1 attributes 1', '', 3),
        ('a blue circle', 'objects 1 attributes 1', 'attributes 1', 4),
        ('a red ring', 'objects 1', 'objects 1', 4),
        ('a red shape', 'objects 1', '', 3),
        ('a pink shape', 'objects 1', 'objects 1', 4),
        # As like the square as can be: one of two is wrong.
        (
            'a small striped square',
            'objects 1 attributes 2',
            'attributes 1',
            4,
        ),
        ('two green stars', 'objects 1 attributes 1 counts 1', '', 2),
        ('three stars', 'objects 1 counts 1', 'counts 1', 2),
        ('a star', 'objects 1', '', 2),
        ('zero stars', 'counts 1', 'counts 1', 4),
        ('there are no green stars', 'counts 1', 'counts 1', 4),
        ('there is no ring', 'counts 1', '', 4),
        ('five shapes in all', 'counts 1', 'counts 1', 4),
        ('a circle left of a square', 'objects 2 relations 1', '', 2),
        (
            'a square left of a circle',
            'objects 2 relations 1',
            'relations 1',
            2,
        ),
        # A slant, one of two, and nothing at all: nobody can say.
        ('a circle left of a star', 'objects 2', '', 1),
        ('a ring left of a circle', 'objects 2', 'objects 1', 3),
        ('a circle on the left', 'objects 1 relations 1', '', 3),
        ('a circle at the top', 'objects 1 relations 1', 'relations 1', 3),
        ('on a cream background', 'background 1', '', 4),
        ('on a gray background', 'background 1', 'background 1', 4),
    ],
)
def test_hand_worked(text, said, false, missed):
    def counts(words):
        words = words.split()
        return dict(zip(words[::2], map(int, words[1::2]), strict=True))

    found = find_faults(SCENE, text)
    assert {k: n for k, n in found.said.items() if n} == counts(said)
    assert {k: n for k, n in found.false.items() if n} == counts(false)
    assert found.missed == missed
    assert found.shown == 4
    assert bool(found.invented) == bool(false)


def test_what_is_invented_is_told_by_its_words():
    text = 'a red circle is right of the square. A pink ring! Nice.'
    found = find_faults(SCENE, text)
    assert found.invented == [
        'a red circle is right of the square',
        'a pink ring',
    ]
    assert found.unread == 1


def test_true_captions_have_no_fault_and_foils_have():
    for index in range(300):
        for pair in SCENES.foils(index):
            true = SCENES.faults(index, pair['caption'])
            assert not any(true.false.values()), pair
            found = SCENES.faults(index, pair['foil'])
            assert any(found.false.values()), pair
            assert found.invented


@pytest.mark.parametrize(
    ('kind', 'mostly'),
    [
        ('change_colour', 'attributes'),
        ('change_relation', 'relations'),
        ('change_count', 'counts'),
        ('replace_object', 'objects'),
    ],
)
def test_faults_are_of_their_kind(kind, mostly):
    kinds = Counter()
    for index in range(200):
        for pair in SCENES.foils(index):
            if pair['kind'] == kind:
                found = SCENES.faults(index, pair['foil'])
                kinds.update(k for k, n in found.false.items() if n)
    assert kinds.most_common(1)[0][0] == mostly


def test_places_in_doubt():
    assert elsewhere(thing('red', 'ring', 0.8, 0.2), 'left')
    assert not elsewhere(thing('red', 'ring', 0.36, 0.2), 'left')
    assert elsewhere(thing('red', 'ring', 0.36, 0.2), 'bottom left')
    assert elsewhere(thing('red', 'ring', 0.8, 0.5), 'middle')
    assert not elsewhere(thing('red', 'ring', 0.62, 0.5), 'middle')
