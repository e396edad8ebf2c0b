"""Questions whether something is on a picture, made of its boxes.

A captioner that learned from captions alone answers POPE with a caption. Such
questions teach it to say yes or no, and as names come up among both, to look.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from random import Random
from typing import Any

from sparc_vlm.evaluation.hallucination import coco_words, vouched_for
from sparc_vlm.evaluation.pope import Asked


def has_boxes(source: Any) -> bool:
    """Whether a source tells what is on its pictures, and where."""
    return hasattr(source, 'boxes') and bool(getattr(source, 'classes', ()))


class Presence:
    """Asks for each class with a box, and for as many that are not there.

    What is not there is drawn as often as pictures show it: were it drawn
    evenly, a common name alone would tell that the answer is yes. What people
    name in captions, or is there as a crowd, is not asked for, as in POPE.

    Args:
        source: Has `boxes` and `classes`, see `has_boxes`.
    """

    def __init__(self, source: Any) -> None:
        self.source = source
        self._words = coco_words(source.classes)

    def questions(self, index: int) -> list[dict[str, str]]:
        """Questions with one right answer each, none without a box.

        Args:
            index: Which picture.

        Returns:
            For each its `kind`, 'presence', its `question` and its `answer`.
        """
        shown = self._shown(index)
        there = {*shown, *vouched_for(self.source, index, self._words)}
        absent = [name for name in self._counts if name not in there]
        rng = Random(f'{self.source.key(index)}-presence')
        asked = []
        for name in shown:
            asked.append(Asked(index, name, True))
            if absent:
                often = [self._counts[one] for one in absent]
                (other,) = rng.choices(absent, often)
                absent.remove(other)
                asked.append(Asked(index, other, False))
        return [
            {
                'kind': 'presence',
                'question': one.text,
                'answer': 'yes' if one.is_there else 'no',
            }
            for one in asked
        ]

    @cached_property
    def _counts(self) -> Counter[str]:
        """On how many pictures each class is; read when first asked for."""
        return Counter(
            name
            for index in range(len(self.source))
            for name in self._shown(index)
        )

    def _shown(self, index: int) -> dict[str, None]:
        """Classes with a box, each once, in the order of the boxes."""
        return dict.fromkeys(row['name'] for row in self.source.boxes(index))
