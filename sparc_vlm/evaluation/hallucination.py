"""CHAIR: which objects does a caption name that are not in the picture?

After Rohrbach et al. 2018 (arXiv 1809.02156): words of a caption stand for
classes of objects, and a class is there if it has a box or if people named it
in the picture's captions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparc_vlm.evaluation.caption_tokens import caption_tokens
from sparc_vlm.evaluation.chair_words import (
    COCO_WORDS,
    COLOURS,
    IRREGULAR,
    NO_OBJECTS,
    TELLING,
)
from sparc_vlm.naming import FUNCTION_WORDS

# What follows a thing and not a colour: 'an orange and a knife' is left out,
# as 'an orange and white cat' begins like it.
_FOLLOWING = FUNCTION_WORDS - {'and', 'or'}


@dataclass(frozen=True, slots=True)
class Named:
    """An object that a caption names.

    Attributes:
        name: Its class.
        words: The words that stand for it.
        start: Place of the first of these among the caption's tokens.
    """

    name: str
    words: str
    start: int


class ObjectWords:
    """Finds the classes that captions name.

    Args:
        words: For each class, words that stand for it, in the singular, with
            blanks between and the parts of one joined by '_'.
        no_objects: Words of several parts that stand for none.
        colours: Words that count only where nothing that they could colour
            follows.
    """

    def __init__(
        self,
        words: Mapping[str, str],
        no_objects: Iterable[str] = (),
        colours: Iterable[str] = (),
    ) -> None:
        self._names: dict[tuple[str, ...], str | None] = {}
        for word in no_objects:
            self._add(word, None)
        for name, own in words.items():
            for word in own.split():
                self._add(word, name)
        self._colours = frozenset(colours)
        self._longest = max(map(len, self._names), default=0)

    @classmethod
    def of(cls, classes: Iterable[str]) -> ObjectWords:
        """Words of classes: COCO's have synonyms, others their names."""
        own = {}
        for name in classes:
            words = COCO_WORDS.get(name, name.lower().replace(' ', '_'))
            told = (
                f'{which}_{word}'
                for which in TELLING.get(name, '').split()
                for word in words.split()
            )
            own[name] = ' '.join([words, *told])
        return cls(own, NO_OBJECTS, COLOURS)

    def find(self, caption: str) -> list[Named]:
        """The objects that a caption names, in order, repeats included.

        The longest word that fits is taken: a hot dog is no dog.

        Args:
            caption: Any text.
        """
        tokens = caption_tokens(caption)
        found, at = [], 0
        while at < len(tokens):
            for size in range(self._longest, 0, -1):
                part = tuple(tokens[at : at + size])
                if len(part) == size and part in self._names:
                    name = self._names[part]
                    after = tokens[at + size : at + size + 1]
                    is_colour = (
                        part[-1] in self._colours
                        and after != []
                        and after[0] not in _FOLLOWING
                    )
                    if name is not None and not is_colour:
                        found.append(Named(name, ' '.join(part), at))
                    at += size
                    break
            else:
                at += 1
        return found

    def _add(self, word: str, name: str | None) -> None:
        """A word and its plural; the first class that claims it has it."""
        *parts, head = word.split('_')
        for form in (head, plural(head)):
            self._names.setdefault((*parts, form), name)


def plural(noun: str) -> str:
    """The plural of an English noun.

    Args:
        noun: In the singular and in small letters.
    """
    for singular, form in IRREGULAR.items():
        if noun == singular:
            return form
    if noun.endswith(('s', 'x', 'z', 'ch', 'sh')):
        return f'{noun}es'
    if noun.endswith('y') and noun[-2:-1] not in 'aeiou':
        return f'{noun[:-1]}ies'
    return f'{noun}s'


def chair(
    words: ObjectWords,
    caption: str,
    references: Iterable[str],
    boxes: Iterable[str],
    crowds: Iterable[str] = (),
) -> dict[str, Any]:
    """What a caption names that is not there, and what it leaves out.

    Args:
        words: Of the data's classes.
        caption: That is measured.
        references: What people wrote of the picture.
        boxes: Classes that have a box on the picture.
        crowds: Classes that are there without one: none is invented, and
            none is missed.

    Returns:
        In percent 'chair_i', of the objects named those that are not there
        (None where none is named), 'chair_s', 100 if there is any, else 0,
        and 'object_recall', of the classes with a box those named (None
        where there is no box). Beside these `objects_named` and
        `classes_shown`, what the first and the last are of, and `invented`,
        the words for what is not there.
    """
    boxes = set(boxes)
    there = {*boxes, *crowds} | {
        named.name for text in references for named in words.find(text)
    }
    named = words.find(caption)
    invented = [one.words for one in named if one.name not in there]
    known = boxes & {one.name for one in named}
    return {
        'chair_i': share(len(invented), len(named)),
        'chair_s': 100.0 * bool(invented),
        'object_recall': share(len(known), len(boxes)),
        'objects_named': len(named),
        'classes_shown': len(boxes),
        'invented': invented,
    }


def crowds_of(source: Any, index: int) -> list[str]:
    """Classes that a picture shows without a box, where a source says so."""
    return source.crowds(index) if hasattr(source, 'crowds') else []


def coco_words(classes: Iterable[str]) -> ObjectWords | None:
    """Finds classes by COCO's words, None where none of them is COCO's.

    Args:
        classes: Of a source.
    """
    classes = list(classes)
    return ObjectWords.of(classes) if set(classes) & set(COCO_WORDS) else None


def vouched_for(
    source: Any, index: int, words: ObjectWords | None
) -> set[str]:
    """Classes that a picture may show without a box, as for CHAIR.

    Args:
        source: Of pictures.
        index: Of the picture.
        words: Finds what people's captions name; None looks at crowds alone.
    """
    vouched = set(crowds_of(source, index))
    if words is not None and hasattr(source, 'captions'):
        for text in source.captions(index):
            vouched |= {one.name for one in words.find(text)}
    return vouched


def share(part: int, whole: int) -> float | None:
    """A share in percent, None of nothing."""
    return 100 * part / whole if whole else None


def pooled(
    samples: Sequence[Mapping[str, Any]], key: str, weight: str | None = None
) -> float | None:
    """A number's mean over samples that have it, weighted by another.

    Args:
        samples: Of a task.
        key: The number; None where a sample has none.
        weight: A count that the samples have; None counts each once.

    Returns:
        None where no sample has the number.
    """
    known = [sample for sample in samples if sample[key] is not None]
    weights = [sample[weight] if weight else 1 for sample in known]
    if not sum(weights):
        return None
    pairs = zip(known, weights, strict=True)
    return sum(sample[key] * w for sample, w in pairs) / sum(weights)
