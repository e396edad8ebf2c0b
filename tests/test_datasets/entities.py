"""Flickr30k Entities and Flickr8k's judgements in small, as published."""

from __future__ import annotations

import json
from pathlib import Path

from tests.test_datasets.made import write_images

SENTENCES = {
    '36979': [
        '[/EN#1/people A man] in [/EN#2/clothing a red hat] waves at '
        '[/EN#0/notvisual each other] .',
        "[/EN#1/people/bodyparts The man 's hand] near "
        '[/EN#3/scene the sea] and [/EN#4/other a kite] .',
        'Nothing is marked here .',
    ],
    '65567': ['[/EN#7/animals Two dogs] run .'],
}
BOX = (
    '<bndbox><xmin>{}</xmin><ymin>{}</ymin>'
    '<xmax>{}</xmax><ymax>{}</ymax></bndbox>'
)
NO_BOX = '<scene>{}</scene><nobndbox>{}</nobndbox>'
OBJECTS = {
    '36979': [
        (('1',), BOX.format(11, 6, 20, 50)),
        # One box for the man and his hat.
        (('1', '2'), BOX.format(1, 1, 100, 50)),
        (('3',), NO_BOX.format(1, 0)),
        (('4',), NO_BOX.format(0, 1)),
    ],
    '65567': [(('7',), BOX.format(51, 1, 75, 25))],
}


def annotation(number: str) -> str:
    """The XML of a picture of 100 by 50 pixels."""
    objects = [
        '<object>'
        + ''.join(f'<name>{name}</name>' for name in names)
        + f'{box}</object>'
        for names, box in OBJECTS[number]
    ]
    size = '<width>100</width><height>50</height><depth>3</depth>'
    return (
        f'<annotation><filename>{number}.jpg</filename>'
        f'<size>{size}</size>{"".join(objects)}</annotation>'
    )


def write_entities(root: Path) -> Path:
    for folder in ('Sentences', 'Annotations'):
        (root / folder).mkdir(parents=True)
    for number, lines in SENTENCES.items():
        text = '\n'.join(lines) + '\n'
        (root / 'Sentences' / f'{number}.txt').write_text(text)
        path = root / 'Annotations' / f'{number}.xml'
        path.write_text(annotation(number))
    (root / 'test.txt').write_text('36979\n65567')
    (root / 'val.txt').write_text('65567\n')
    names = [f'{number}.jpg' for number in SENTENCES]
    write_images(root / 'flickr30k-images', names)
    return root


def entity_row() -> dict:
    """A picture as a JSON line has it."""
    phrases = [
        {'start': 0, 'n': 2, 'text': 'A man', 'chain': '1'},
        {'start': 3, 'n': 3, 'text': 'a red hat', 'chain': '2'},
        {'start': 7, 'n': 2, 'text': 'each other', 'chain': '0'},
    ]
    return {
        'image': 'a.jpg',
        'captions': [
            {'text': 'Nothing .', 'phrases': []},
            {
                'text': 'A man in a red hat at each other .',
                'phrases': [{**p, 'types': ['people']} for p in phrases],
            },
        ],
        'boxes': {'1': [[0.1, 0, 0.5, 1], [0, 0, 1, 1]], '2': [[0, 0, 1, 1]]},
        'scene': [],
        'nobox': [],
    }


def write_entity_lines(root: Path, *rows: dict | str) -> Path:
    path = root / 'entities_val.jsonl'
    lines = [r if isinstance(r, str) else json.dumps(r) for r in rows]
    path.write_text('\n'.join(lines) + '\n')
    write_images(root / 'images_val.zip', ['a.jpg'])
    return path


CAPTIONS = {
    'a.jpg#0': 'A dog runs .',
    'a.jpg#1': 'The brown dog is running .',
    'b.jpg#0': 'Two girls play .',
    'b.jpg#1': 'A girl and another girl .',
}
EXPERT = [
    ('a.jpg', 'b.jpg#0', '1', '1', '2'),
    ('a.jpg', 'a.jpg#1', '4', '4', '4'),
    ('b.jpg', 'b.jpg#1', '4', '3', '4'),
    ('b.jpg', 'a.jpg#0', '1', '1', '1'),
]
CROWD = [
    ('a.jpg', 'a.jpg#0', '1', '3', '0'),
    ('a.jpg', 'b.jpg#1', '0.333333333333', '1', '2'),
    ('b.jpg', 'a.jpg#1', '0', '0', '3'),
]


def write_judgements(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    tables = {
        'Flickr8k.token.txt': CAPTIONS.items(),
        'ExpertAnnotations.txt': EXPERT,
        'CrowdFlowerAnnotations.txt': CROWD,
    }
    for name, rows in tables.items():
        text = ''.join('\t'.join(row) + '\n' for row in rows)
        (root / name).write_text(text)
    write_images(root / 'Flicker8k_Dataset', ['a.jpg', 'b.jpg'])
    return root
