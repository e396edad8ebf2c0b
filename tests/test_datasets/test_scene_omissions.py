"""What sentences leave out of scenes is counted, thing by thing."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from sparc_vlm.datasets.scenes import Mention
from sparc_vlm.datasets.scenes.omissions import (
    Tally,
    count_named,
    find_omissions,
)
from sparc_vlm.datasets.scenes.reading import read_claims
from tests.test_datasets.test_scene_faults import SCENE, SCENES


def slowly(mentions, scene):
    """The most objects named, of all ways to give each object to nobody or
    to one of the mentions."""
    choices = [
        [None, *(m for m, own in enumerate(mentions) if own.fits(thing))]
        for thing in scene.objects
    ]
    return max(
        sum(who is not None for who in way)
        for way in product(*choices)
        if all(way.count(m) <= own.count for m, own in enumerate(mentions))
    )


def test_each_object_is_named_once_and_as_many_as_can_be():
    rng = Random(0)
    was_hard = 0
    for index in range(300):
        scene = SCENES.scene(index)
        mentions = []
        for thing in rng.choices(scene.objects, k=rng.randint(1, 4)):
            said = {
                name: getattr(thing, name)
                for name in ('shape', 'colour', 'size')
                if rng.random() < 0.4
            }
            mentions.append(Mention(rng.randint(0, 2), **said))
        expected = slowly(mentions, scene)
        assert count_named(mentions, scene) == expected
        # To take what is left, one mention after the other, is not enough.
        left = set(range(len(scene.objects)))
        for mention in mentions:
            fits = [at for at in mention.find(scene) if at in left]
            left -= set(fits[: mention.count])
        was_hard += len(scene.objects) - len(left) < expected
    assert was_hard > 5


@pytest.mark.parametrize(
    ('text', 'attributes', 'relations'),
    [
        ('a shape', (0, 0), 4),
        # Red and small.
        ('a circle', (2, 2), 4),
        ('a red circle', (2, 1), 4),
        ('a small red circle', (2, 0), 4),
        # Together they say all of the one thing.
        ('a small circle, a red circle', (2, 0), 4),
        # Blue, striped and large.
        ('a blue square', (3, 2), 4),
        # Which star, nobody knows; of both all is the same.
        ('a small star', (0, 0), 4),
        ('two small stars', (4, 2), 4),
        ('no ring', (0, 0), 4),
        # Nothing is so large and red.
        ('a large red circle', (0, 0), 4),
        ('a circle left of a square', (5, 5), 3),
        ('a square right of a circle', (5, 5), 3),
        # Not so.
        ('a square left of a circle', (5, 5), 4),
    ],
)
def test_hand_worked(text, attributes, relations):
    """Circle and square, circle and each star, the stars."""
    found = find_omissions(SCENE, read_claims(text).claims)
    assert found['attributes'] == Tally(*attributes)
    assert found['relations'] == Tally(4, relations)


def test_true_captions_say_some_of_it():
    seen = dict.fromkeys(('objects', 'attributes', 'relations'), 0)
    for index in range(100):
        scene = SCENES.scene(index)
        claims = [c for text in SCENES.claims(index) for c in text.claims]
        nothing, some = (find_omissions(scene, c) for c in ([], claims))
        assert nothing['objects'].missed == len(scene.objects)
        for kind, tally in some.items():
            assert 0 <= tally.missed <= tally.shown
            seen[kind] += tally.shown - tally.missed
        assert some['relations'].shown == nothing['relations'].shown
    assert min(seen.values()) > 20
