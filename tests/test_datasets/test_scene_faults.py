"""Sentences about scenes are read back, and checked to the last attribute."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

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
from sparc_vlm.datasets.scenes.claims import OPPOSITES, related
from sparc_vlm.datasets.scenes.faults import (
    elsewhere,
    find_faults,
    unrelated,
)
from sparc_vlm.datasets.scenes.omissions import Tally
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
        ('two circles that are red', [Mention(2, 'circle', 'red')], 0),
        (
            'The circle is red and small, a ring is Striped.',
            [
                Mention(1, 'circle', 'red', None, 'small'),
                Mention(1, 'ring', None, 'striped'),
            ],
            0,
        ),
        (
            'the circle is red on the left',
            [Place(RED, 'left')],
            0,
        ),
        (
            'the ring is left of a circle that is red',
            [Relation(Mention(1, 'ring'), 'left of', RED)],
            0,
        ),
        # Which of the two, nobody knows.
        (
            'a ring left of a circle is red',
            [Relation(Mention(1, 'ring'), 'left of', Mention(1, 'circle'))],
            1,
        ),
        ('the circle is not red', [Mention(1, 'circle')], 2),
        ('the circle is red, white sky', [RED], 2),
        ('<0> a red circle <7>', [RED], 2),
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
        # One of the two, and no more than there are.
        ('a star', 'objects 1', '', 3),
        ('a star and a green star', 'objects 2 attributes 1', '', 2),
        ('a star, a star, a star', 'objects 3', '', 2),
        ('a shape', 'objects 1', '', 3),
        ('a shape with a red circle', 'objects 2 attributes 1', '', 2),
        ('the square is blue', 'objects 1 attributes 1', '', 3),
        (
            'the square is red',
            'objects 1 attributes 1',
            'attributes 1',
            4,
        ),
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
        ('a circle left of a star', 'objects 2', '', 2),
        ('a ring left of a circle', 'objects 2', 'objects 1', 3),
        # Things that stand apart.
        (
            'a circle inside a square',
            'objects 2 relations 1',
            'relations 1',
            2,
        ),
        (
            'a square around a circle',
            'objects 2 relations 1',
            'relations 1',
            2,
        ),
        (
            'a circle in front of a square',
            'objects 2 relations 1',
            'relations 1',
            2,
        ),
        # It stands below, if anything.
        ('a square above a circle', 'objects 2 relations 1', 'relations 1', 2),
        ('a square below a circle', 'objects 2', '', 2),
        # The same one.
        ('a red shape inside a circle', 'objects 2', '', 3),
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
    assert found.omissions['objects'] == Tally(4, missed)
    assert found.named == 4 - missed
    assert not found.is_silent
    assert bool(found.invented) == bool(false)


def test_what_is_invented_is_told_by_its_words():
    text = 'a red circle is right of the square. A pink ring! Nice.'
    found = find_faults(SCENE, text)
    assert found.invented == [
        'a red circle is right of the square',
        'a pink ring',
    ]
    assert found.unread == 1
    assert found.words == 12


@pytest.mark.parametrize('text', ['', 'A beautiful beach!', 'red and small'])
def test_who_says_nothing_says_nothing_false(text):
    found = find_faults(SCENE, text)
    assert found.is_silent
    assert found.invented == []
    assert found.unread <= found.words == len(text.split())
    assert found.omissions['objects'] == Tally(4, 4)
    assert found.omissions['attributes'] == Tally()
    assert found.omissions['relations'].missed == 4


def test_true_captions_name_all_that_fits():
    """In these each mention fits as many as it says."""
    for index in range(300):
        scene = SCENES.scene(index)
        for caption in SCENES.claims(index):
            mentions = [
                side
                for claim in caption.claims
                for side in (
                    claim,
                    getattr(claim, 'subject', None),
                    getattr(claim, 'object', None),
                )
                if isinstance(side, Mention)
            ]
            found = find_faults(scene, caption.text)
            fitting = {at for one in mentions for at in one.find(scene)}
            assert found.named == len(fitting)
            assert found.unread == 0


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


def test_one_of_two_opposite_relations_is_false():
    kinds = Counter()
    for index in range(300):
        scene = SCENES.scene(index)
        things = range(len(scene.objects))
        for first, second in permutations(things, 2):
            for name, opposite in OPPOSITES.items():
                if related(scene, first, second, name):
                    kinds[name] += 1
                    assert not unrelated(scene, first, second, name)
                    assert unrelated(scene, first, second, opposite)
                assert unrelated(scene, first, second, name) == unrelated(
                    scene, second, first, opposite
                )
    assert min(kinds.values()) > 20
    assert set(kinds) == set(OPPOSITES)


def test_relations_in_doubt():
    scene = Scene(
        (
            thing('red', 'circle', 0.5),
            thing('blue', 'square', 0.5, 0.5),
            thing('green', 'star', 0.53, 0.9),
            thing('gray', 'ring', 0.2, 0.9),
        ),
        SCENE.background,
        overlaps=((3, 2),),
        inside=((1, 0),),
    )
    for inner, outer, names in (
        # What is inside could be called in front.
        (1, 0, ('in front of', 'left of', 'above')),
        # What is partly covered could be called inside.
        (3, 2, ('inside', 'above')),
        (2, 3, ('inside',)),
        # Hardly to the right.
        (2, 0, ('left of',)),
    ):
        for name in names:
            assert not unrelated(scene, inner, outer, name), name
    assert unrelated(scene, 0, 1, 'in front of')
    assert unrelated(scene, 2, 3, 'left of')


def test_places_in_doubt():
    assert elsewhere(thing('red', 'ring', 0.8, 0.2), 'left')
    assert not elsewhere(thing('red', 'ring', 0.36, 0.2), 'left')
    assert elsewhere(thing('red', 'ring', 0.36, 0.2), 'bottom left')
    assert elsewhere(thing('red', 'ring', 0.8, 0.5), 'middle')
    assert not elsewhere(thing('red', 'ring', 0.62, 0.5), 'middle')
