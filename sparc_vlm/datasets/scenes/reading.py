"""Reads what a sentence says about a scene: words to claims.

Made for what a captioner writes: what it says in the words of scenes is read,
in any order and number, and all else is passed over and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sparc_vlm.datasets.scenes.backgrounds import GROUNDS, TINTS
from sparc_vlm.datasets.scenes.captions import (
    PLACE_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
)
from sparc_vlm.datasets.scenes.claims import (
    NUMBERS,
    PLACES,
    PLURALS,
    Backdrop,
    Claim,
    Mention,
    Place,
    Relation,
    Total,
)
from sparc_vlm.datasets.scenes.vocabulary import COLOURS, SHAPES, TEXTURES

_ATTRIBUTES = {
    **{word: ('colour', word) for word in COLOURS},
    **{word: ('texture', word) for word in TEXTURES},
    **{word: ('size', n) for n, own in SIZE_WORDS.items() for word in own},
}
_NOUNS = {
    form: shape
    for shape in (*SHAPES, 'shape')
    for form in (shape, PLURALS.get(shape, f'{shape}s'))
}
_COUNTS = dict.fromkeys(('a', 'an', 'the'), 1)
_COUNTS |= {word: number for number, word in enumerate(NUMBERS)}
# More than a scene holds, and figures: not its captions', but a model's.
_MORE = ('six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve')
_COUNTS |= {word: number for number, word in enumerate(_MORE, len(NUMBERS))}
_COUNTS |= {str(number): number for number in range(21)}
_COUNTS['no'] = 0


def _one_of(words: Iterable[str]) -> str:
    """An alternative, the longest first."""
    return '|'.join(sorted(map(re.escape, words), key=len, reverse=True))


_MENTION = re.compile(
    rf'\b(?:({_one_of(_COUNTS)}) )?((?:(?:{_one_of(_ATTRIBUTES)}) )*)'
    rf'({_one_of(_NOUNS)})\b'
)
_RELATIONS = {w: n for n, own in RELATION_WORDS.items() for w in own}
_PLACES = {w: n for n, own in PLACE_WORDS.items() for w in own}
_PLACES |= {
    f'in the {place}{end}': place
    for place in PLACES
    for end in ('', ' corner')
}
_TINT = _one_of(TINTS)
_BACKDROP = re.compile(
    rf'\bon (?:{_one_of(GROUNDS)}|a (?:{_TINT}) gradient'
    rf'|a (?:grainy )?(?:{_TINT}) background)\b'
)
# Mentions stand as their numbers: <0>, <1> ...
_BE = r'(?:(?:is|are) )?'
_ATTRIBUTE = _one_of(_ATTRIBUTES)
# 'The circle is red and small'; of 'a ring above a circle is red' nobody knows
# which is meant.
_SAID_OF_ONE = re.compile(
    rf'(?P<after>(?:{_one_of(_RELATIONS)}) )?<(?P<subject>\d+)> '
    rf'(?P<that>(?:that|which) )?(?:is|are) '
    rf'(?P<said>(?:{_ATTRIBUTE})(?: (?:and )?(?:{_ATTRIBUTE}))*)\b'
)
_SAID_OF_TWO = (
    re.compile(
        rf'\b(?P<name>{_one_of(_RELATIONS)}) <(?P<object>\d+)> '
        r'(?:is|are) <(?P<subject>\d+)>'
    ),
    re.compile(
        rf'<(?P<subject>\d+)> {_BE}(?P<name>{_one_of(_RELATIONS)}) '
        r'<(?P<object>\d+)>'
    ),
)
# The longest place or none, found by looking ahead: 'in the top left of it' is
# not 'in the top'.
_PLACED = re.compile(
    rf'<(\d+)> {_BE}(?=({_one_of(_PLACES)}))\2\b(?! of(?! the picture\b))'
)
_IN_ALL = re.compile(
    r'\ba picture with <(\d+)>(?= ,|$)|<(\d+)> (?:in all|can be seen)\b'
)
_FILLING = re.compile(
    r'\b(?:a picture of|a picture with|a picture|an image with|an image of'
    r'|you can see|and|with|there is|there are|is|are)\b|<\d+>'
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sentence says.

    Attributes:
        claims: In the order of their kinds: background, relations, places,
            totals, and mentions that are in none of these.
        texts: The words of each claim.
        unread: Words that say nothing about scenes.
        words: Number of all words.
    """

    claims: tuple[Claim, ...]
    texts: tuple[str, ...]
    unread: tuple[str, ...]
    words: int


def read_claims(text: str) -> Reading:
    """Reads a sentence, or several.

    'red circles' without a number claims that there is one. 'The circle is
    red' says what 'the red circle' does.

    Args:
        text: In the words of `write_captions`, with others between them.
    """
    # The brackets would pass for marks of ours.
    text = ' '.join(re.sub('[.,;:!?<>]', ' , ', text.lower()).split())
    total = sum(word != ',' for word in text.split())
    said: list[tuple[Claim, str]] = []

    def backdrop(match: re.Match[str]) -> str:
        said.append((Backdrop(match[0]), match[0]))
        return ','

    text = _BACKDROP.sub(backdrop, text)
    mentions: list[Mention] = []
    words: list[str] = []

    def mention(match: re.Match[str]) -> str:
        mentions.append(_mention(*match.groups()))
        words.append(match[0])
        return f'<{len(mentions) - 1}>'

    marked = _MENTION.sub(mention, text)

    def attributes(match: re.Match[str]) -> str:
        if match['after'] and not match['that']:
            return match[0]
        number = int(match['subject'])
        mentions[number] = replace(
            mentions[number], **_attributes(match['said'])
        )
        words[number] = spell(match).removeprefix(match['after'] or '')
        return f'{match["after"] or ""}<{number}>'

    def spell(match: re.Match[str]) -> str:
        return re.sub(r'<(\d+)>', lambda m: words[int(m[1])], match[0])

    def relation(match: re.Match[str]) -> str:
        sides = (mentions[int(match[s])] for s in ('subject', 'object'))
        subject, other = sides
        name = _RELATIONS[match['name']]
        said.append((Relation(subject, name, other), spell(match)))
        return ','

    def place(match: re.Match[str]) -> str:
        where = Place(mentions[int(match[1])], _PLACES[match[2]])
        said.append((where, spell(match)))
        return ','

    def in_all(match: re.Match[str]) -> str:
        counted = mentions[int(match[1] or match[2])]
        if counted != Mention(counted.count):
            return match[0]
        said.append((Total(counted.count), spell(match)))
        return ','

    marked = _SAID_OF_ONE.sub(attributes, marked)
    for form in _SAID_OF_TWO:
        marked = form.sub(relation, marked)
    marked = _PLACED.sub(place, marked)
    marked = _IN_ALL.sub(in_all, marked)
    for number in map(int, re.findall(r'<(\d+)>', marked)):
        said.append((mentions[number], words[number]))
    rest = _FILLING.sub(' ', marked).replace(',', ' ').split()
    claims = tuple(claim for claim, _ in said)
    return Reading(claims, tuple(t for _, t in said), tuple(rest), total)


def _mention(number: str | None, attributes: str, noun: str) -> Mention:
    """A mention from its parts; of two colours the last is taken."""
    shape = _NOUNS[noun]
    return Mention(
        _COUNTS.get(number or 'one', 1),
        None if shape == 'shape' else shape,
        **_attributes(attributes),
    )


def _attributes(text: str) -> dict[str, str]:
    """What words say of a thing, other words between them passed over."""
    return dict(
        _ATTRIBUTES[word] for word in text.split() if word in _ATTRIBUTES
    )
