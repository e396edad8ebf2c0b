"""The words of a data set, and which of them training must not see."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from sparc_vlm.datasets.readers.files import read_json
from sparc_vlm.datasets.report import new_report
from sparc_vlm.engine.config_error import nearest
from sparc_vlm.errors import UsageError


def as_word(name: str) -> str:
    """A class's name as one would say it: 'Street_Lights' to 'street lights'.

    Args:
        name: As data sets write it.
    """
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
    """The words that training must not see.

    Args:
        rule: Names of classes or of supercategories; or
            `dict(frequency='r')` for a group of classes, those of another
            file with `annotations=...`, their synonyms with them; or None.
        categories: Of the data set, as COCO's files have them.
        path: Of the data set, for errors.

    Raises:
        ValueError: A name that the data set lacks, no class is of the group,
            or a rule of another form.
    """
    if not rule:
        return set()
    if not isinstance(rule, dict):
        return _named(rule, categories, path)
    if not {'frequency'} <= set(rule) <= {'frequency', 'annotations'}:
        raise UsageError(
            "leave_out takes names, or dict(frequency='r'), with "
            f'annotations=... for those of another file, got {dict(rule)}'
        )
    group, other = rule['frequency'], rule.get('annotations')
    if other is not None:
        path = other
        categories = read_json(other, 'categories', new_report())['categories']
    words = {
        as_word(name)
        for row in categories
        if row.get('frequency') == group
        for name in (row['name'], *row.get('synonyms', ()))
    }
    if not words:
        raise UsageError(
            f'leave_out: {path} has no class of frequency {group!r}'
        )
    return words


def _named(
    names: Sequence[str], categories: Sequence[dict[str, Any]], path: str
) -> set[str]:
    classes = {as_word(row['name']) for row in categories}
    groups: dict[str, set[str]] = {}
    for row in categories:
        if 'supercategory' in row:
            group = groups.setdefault(as_word(row['supercategory']), set())
            group.add(as_word(row['name']))
    words = set()
    for name in map(as_word, names):
        if name not in classes and name not in groups:
            raise UsageError(
                f'leave_out: {path} has no class or supercategory {name}'
                + nearest(name, [*classes, *groups])
            )
        words |= {name} if name in classes else groups[name]
    return words
