"""Reads captions of scenes back and checks them against the layout.

Written from what the words mean, without the code that writes them.
"""

from __future__ import annotations

import re

COLOURS = 'red orange yellow green blue purple pink brown black white'.split()
TEXTURES = 'plain striped dotted checkered'.split()
SIZES = {
    **dict.fromkeys(('small', 'little', 'tiny'), 'small'),
    **dict.fromkeys(('large', 'big'), 'large'),
}
SHAPES = (
    'circle square triangle star heart cross diamond ring crescent arrow '
    'hexagon oval'
).split()
NUMBERS = {'a': 1, 'an': 1, 'the': 1, 'one': 1}
NUMBERS |= {'two': 2, 'three': 3, 'four': 4, 'five': 5}
NOUNS = {
    **{shape: shape for shape in SHAPES},
    **{shape + 's': shape for shape in SHAPES},
    'crosses': 'cross',
    'shape': None,
    'shapes': None,
}
MENTION = re.compile(
    rf'\b({"|".join(NUMBERS)}) '
    rf'(?:({"|".join(SIZES)}) )?(?:({"|".join(TEXTURES)}) )?'
    rf'(?:({"|".join(COLOURS)}) )?({"|".join(NOUNS)})\b'
)
RELATIONS = {
    'left of': ['to the left of', 'on the left of', 'left of'],
    'right of': ['to the right of', 'on the right of', 'right of'],
    'above': ['above', 'higher up than'],
    'below': ['below', 'lower down than', 'under'],
    'front': ['in front of', 'partly covering'],
    'behind': ['behind', 'partly hidden by'],
    'inside': ['inside', 'within'],
    'around': ['around', 'surrounding'],
}
NAMES = {words: name for name, all_ in RELATIONS.items() for words in all_}
RELATION = '|'.join(sorted(NAMES, key=len, reverse=True))
PLACE = re.compile(
    r'<(\d+)> (?:in|at|on|near) the '
    r'((?:top|bottom) (?:left|right)|left|right|top|bottom|middle|centre)'
    r'(?: corner)?(?: edge)?'
)


def check(text, scene):
    """Raises AssertionError if a caption is not true of a scene.

    Returns:
        Number of mentions and of relations that were checked.
    """
    ground = scene.background.phrase
    text = re.sub(rf'(, |^){re.escape(ground)}$', '', text)
    found = []

    def take(match):
        number, size, texture, colour, noun = match.groups()
        want = {
            'size': SIZES.get(size),
            'texture': texture,
            'colour': colour,
            'shape': NOUNS[noun],
        }
        things = [
            thing
            for thing in scene.objects
            if all(
                value is None or getattr(thing, name) == value
                for name, value in want.items()
            )
        ]
        assert len(things) == NUMBERS[number], (match[0], text)
        found.append(things)
        return f'<{len(found) - 1}>'

    marked = MENTION.sub(take, text)
    assert found or not marked, text
    relations = 0
    forms = [
        (rf'<(\d+)> (?:is )?({RELATION}) <(\d+)>', (0, 1, 2)),
        (rf'({RELATION}) <(\d+)> is <(\d+)>', (2, 0, 1)),
    ]
    for form, order in reversed(forms):
        for match in re.finditer(form, marked):
            parts = [match.groups()[place] for place in order]
            (first,), (second,) = found[int(parts[0])], found[int(parts[2])]
            assert stands(scene, first, NAMES[parts[1]], second), text
            relations += 1
        marked = re.sub(form, '', marked)
    for match in PLACE.finditer(marked):
        (thing,) = found[int(match[1])]
        assert is_at(thing, match[2]), text
    marked = PLACE.sub('', marked)
    rest = re.sub(r'<\d+>', '', marked)
    rest = re.sub(r'you can see|can be seen|in all|and|with', '', rest)
    rest = re.sub(r'(a picture of|a picture|an image)', '', rest)
    assert not rest.strip(' ,'), f'not understood: {rest!r} of {text!r}'
    return len(found), relations


def stands(scene, a, name, b):
    places = {id(thing): i for i, thing in enumerate(scene.objects)}
    pair = (places[id(a)], places[id(b)])
    dx, dy = b.x - a.x, b.y - a.y
    return {
        'left of': dx > abs(dy),
        'right of': -dx > abs(dy),
        'above': dy > abs(dx),
        'below': -dy > abs(dx),
        'front': pair in scene.overlaps,
        'behind': pair[::-1] in scene.overlaps,
        'inside': pair in scene.inside,
        'around': pair[::-1] in scene.inside,
    }[name]


def is_at(thing, where):
    third = 1 / 3
    checks = {
        'left': thing.x < third,
        'right': thing.x > 1 - third,
        'top': thing.y < third,
        'bottom': thing.y > 1 - third,
        'middle': max(abs(thing.x - 0.5), abs(thing.y - 0.5)) < 0.17,
    }
    checks['centre'] = checks['middle']
    return all(checks[word] for word in where.split())
