"""The words of a data set, and which of them training must not see."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from sparc_vlm.datasets.readers.files import read_json
from sparc_vlm.datasets.report import new_report
from sparc_vlm.engine.config_error import nearest
from sparc_vlm.errors import UsageError

IN_BRACKETS = re.compile(r'\([^()]*\)')
PUNCTUATION = re.compile(r"[^\w\s'-]+")
PROMPT_STOP = re.compile(r'\.(?=\s|$)')
"""What stands between the words of MMDetection's prompts."""


def as_word(name: str) -> str:
    """A class's name as one would say it: 'Street_Lights' to 'street lights'.

    What stands in brackets and punctuation go: 'octopus_(animal)' is
    'octopus'. Dashes and apostrophes stay.

    Args:
        name: As data sets write it.
    """
    return _said(IN_BRACKETS.sub(' ', name)) or _said(name)


def listed_words(text: str) -> list[str]:
    """The words between commas, as one would say them, each once.

    Args:
        text: As a user writes it: 'Red ball, dog'.
    """
    found = dict.fromkeys(map(as_word, text.split(',')))
    found.pop('', None)
    return list(found)


def prompted_words(text: str | Sequence[str]) -> list[str]:
    """The words of one of MMDetection's text prompts, as one would say them.

    Args:
        text: 'cat . Red ball', of which each word comes once, or the words,
            which keep their places.

    Raises:
        ValueError: There is no word in it, or one is empty.
    """
    if isinstance(text, str):
        words = list(dict.fromkeys(map(as_word, PROMPT_STOP.split(text))))
        words = [word for word in words if word]
    else:
        words = as_words(text)
    if not words or '' in words:
        raise UsageError(
            f'the prompt {text!r} lacks a word to look for: write words with '
            "a dot between them, as in 'cat . red ball'"
        )
    return words


def as_words(names: Sequence[str]) -> list[str]:
    """The classes of a data set as one would say them.

    Where two would be the same word, what is in brackets stays in words, and
    if that is not enough punctuation too: 'bow_(weapon)' is 'bow weapon'
    beside 'bow_(ribbon)', and 'bow' alone.

    Args:
        names: As the data set writes them.
    """
    forms = (as_word, _said)
    meant: list[dict[str, set[str]]] = [defaultdict(set) for _ in forms]
    for name in names:
        for form, found in zip(forms, meant, strict=True):
            found[form(name)].add(_plain(name))
    words = []
    for name in names:
        alone = (
            form(name)
            for form, found in zip(forms, meant, strict=True)
            if len(found[form(name)]) == 1
        )
        words.append(next(alone, _plain(name)))
    return words


def _said(name: str) -> str:
    """Without punctuation, but for dashes and apostrophes within a word."""
    words = PUNCTUATION.sub(' ', _plain(name)).split()
    said = ' '.join(filter(None, (word.strip("'-") for word in words)))
    return said or _plain(name)


def _plain(name: str) -> str:
    """Small letters, and blanks for underscores."""
    return ' '.join(name.replace('_', ' ').lower().split())


class Vocabulary:
    """The different words of a data set, of which negatives are drawn.

    One that is copied stays the same one: samples carry it through
    pipelines that copy all they are given.

    Args:
        words: Different ones.
        counts: How many boxes each of them has.
    """

    def __init__(self, words: Sequence[str], counts: Sequence[int]) -> None:
        self.words = tuple(words)
        self.counts = np.asarray(counts, dtype=np.float64)
        self._rows = {word: row for row, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __deepcopy__(self, memo: dict) -> Vocabulary:
        return self

    def draw(
        self, number: int, without: Collection[str], by_frequency: bool
    ) -> list[str]:
        """Different words, drawn with numpy's global random state.

        Args:
            number: How many; fewer come where there are no more.
            without: Words that are not drawn.
            by_frequency: Words of many boxes are drawn more often, those of
                none never.
        """
        weights = self.counts.copy() if by_frequency else np.ones(len(self))
        for word in without:
            if word in self._rows:
                weights[self._rows[word]] = 0
        number = min(number, np.count_nonzero(weights))
        if not number:
            return []
        chances = weights / weights.sum()
        rows = np.random.choice(len(self), number, False, chances)
        return [self.words[row] for row in rows]


def left_out(
    rule: Sequence[str] | dict[str, Any] | None,
    categories: Sequence[dict[str, Any]],
    path: str,
) -> set[str]:
    """The words of a data set that training must not see.

    Names and the words of another file are compared without the plural's s
    or es, without blanks and dashes: 'street light' takes out 'Streetlights'.
    A group of the file's own is just its classes.

    Args:
        rule: Names of classes or of supercategories; or
            `dict(frequency='r')` for a group of classes, those of another
            file with `annotations=...`, their synonyms with them; or None.
        categories: Of the data set, as COCO's files have them.
        path: Of the data set, for errors.

    Returns:
        Some of its `as_words`.

    Raises:
        ValueError: A name that the data set lacks, no class is of the group,
            or a rule of another form.
    """
    if not rule:
        return set()
    own = as_words([row['name'] for row in categories])
    if not isinstance(rule, dict):
        return _alike(_named(rule, categories, own, path), own)
    if not {'frequency'} <= set(rule) <= {'frequency', 'annotations'}:
        raise UsageError(
            "leave_out takes names, or dict(frequency='r'), with "
            f'annotations=... for those of another file, got {dict(rule)}'
        )
    group, other = rule['frequency'], rule.get('annotations')
    if other is not None:
        path = other
        categories = read_json(other, 'categories', new_report())['categories']
    rows = [row.get('frequency') == group for row in categories]
    if not any(rows):
        raise UsageError(
            f'leave_out: {path} has no class of frequency {group!r}'
        )
    if other is None:
        return {word for word, out in zip(own, rows, strict=True) if out}
    names = [
        name
        for row, out in zip(categories, rows, strict=True)
        if out
        for name in (row['name'], *row.get('synonyms', ()))
    ]
    # In the other file 'bow' may be several things, of which one is left out.
    return _alike({form(n) for n in names for form in (as_word, _said)}, own)


def _named(
    names: Sequence[str],
    categories: Sequence[dict[str, Any]],
    own: Sequence[str],
    path: str,
) -> set[str]:
    """Words of classes, or of all classes of supercategories."""
    groups: dict[str, set[str]] = {}
    for row, word in zip(categories, own, strict=True):
        if 'supercategory' in row:
            groups.setdefault(as_word(row['supercategory']), set()).add(word)
    words = set()
    for name in names:
        found = {as_word(name), _said(name)} & {*own}
        found = found or groups.get(as_word(name))
        if not found:
            raise UsageError(
                f'leave_out: {path} has no class or supercategory '
                f'{as_word(name)}{nearest(as_word(name), [*own, *groups])}'
            )
        words |= found
    return words


def _alike(words: Iterable[str], own: Iterable[str]) -> set[str]:
    """Those of a data set's own words that are one of the words."""
    known = {form for word in words for form in _singulars(word)}
    return {word for word in own if known & _singulars(word)}


def _singulars(word: str) -> set[str]:
    """What a word may be the plural of, and itself, as one string each."""
    joined = word.replace(' ', '').replace('-', '')
    forms = {joined}
    if joined.endswith('s') and not joined.endswith('ss'):
        forms.add(joined[:-1])
    if joined.endswith('es'):
        forms.add(joined[:-2])
    return forms
