"""What every tokenizer hands on, and how tokens are assigned to words."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sparc_vlm.errors import UsageError
from sparc_vlm.files import write_changed
from sparc_vlm.structures import TokenBatch

MAX_LENGTH = 55
FILE = 'tokenizer.json'
SETTINGS = 'tokenizer_settings.json'
# A word with its inner hyphens and apostrophes, or one mark, repeated or not.
_WORD = re.compile(r"\w+(?:[-'\u2019]\w+)*|([^\w\s])\1*")


class TokenIds(NamedTuple):
    """One tokenised caption.

    Attributes:
        ids: Token ids, at most the tokenizer's `max_length`.
        real: For each token False if it is a begin or end mark.
        words: For each token the index of its word in `word_spans`, None
            where it belongs to no word.
        truncated: Whether tokens were left out at the end.
    """

    ids: list[int]
    real: list[bool]
    words: list[int | None]
    truncated: bool


class Tokenizer(ABC):
    """What training, tasks and figures need of a tokenizer.

    Attributes:
        vocab_size: Number of token ids.
        max_length: Tokens kept of a caption.
    """

    vocab_size: int
    max_length: int

    @abstractmethod
    def encode(self, text: str) -> TokenIds:
        """Tokens of one caption; none is real where the text says nothing.

        Args:
            text: Any text.
        """

    @abstractmethod
    def save(self, directory: str | Path) -> None:
        """Writes all that `load_tokenizer` needs.

        Args:
            directory: Made if it is not there.
        """

    def word_spans(self, text: str) -> list[str]:
        """The words that `TokenIds.words` points to.

        Args:
            text: The caption.
        """
        return split_words(text)

    def batch(self, texts: Sequence[str]) -> TokenBatch:
        """Several captions as the text encoder takes them.

        Args:
            texts: None of them empty.

        Raises:
            ValueError: A text has no token but its marks.
        """
        return batch_tokens([self.encode(text) for text in texts])


def find_words(text: str) -> list[tuple[int, int]]:
    """Start and end of each word of a text; punctuation marks are words."""
    return [match.span() for match in _WORD.finditer(text)]


def split_words(text: str) -> list[str]:
    """The words of a text; punctuation marks are words."""
    return [match[0] for match in _WORD.finditer(text)]


def assign_words(
    text: str, offsets: Sequence[tuple[int, int]]
) -> list[int | None]:
    """Which word each token belongs to.

    Args:
        text: The caption.
        offsets: Start and end of each token in it, in order.

    Returns:
        Index into `find_words`: the first word that the token shares a
        character with, or None.
    """
    spans = find_words(text)
    words: list[int | None] = []
    current = 0
    for start, end in offsets:
        while current < len(spans) and spans[current][1] <= start:
            current += 1
        inside = current < len(spans) and spans[current][0] < end
        words.append(current if inside and end > start else None)
    return words


def batch_tokens(encoded: Sequence[TokenIds]) -> TokenBatch:
    """Packs tokenised captions, with the words of their tokens.

    Args:
        encoded: Each with at least one token.

    Raises:
        ValueError: A caption has no token that is not a mark.
    """
    for number, tokens in enumerate(encoded):
        if not any(tokens.real):
            raise UsageError(
                f'text {number} of {len(encoded)} has no token in it: leave '
                'empty texts out'
            )
    real = [tokens.real for tokens in encoded]
    marks = real if not all(all(flags) for flags in real) else None
    return TokenBatch.from_lists(
        [tokens.ids for tokens in encoded],
        marks,
        [tokens.words for tokens in encoded],
    )


def save_files(
    tokenizer: Tokenizer,
    directory: str | Path,
    files: Mapping[str, bytes],
) -> None:
    """Writes a tokenizer's files and its settings, each whole or not at all.

    What is the same already is left alone. The vocabulary comes last: where
    it is, the rest is too.

    Args:
        tokenizer: Whose they are.
        directory: Made if it is not there.
        files: What they hold by name, `FILE` among them.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.
    """
    settings = {
        'type': type(tokenizer).__name__,
        'max_length': tokenizer.max_length,
        'vocab_size': tokenizer.vocab_size,
    }
    files = {SETTINGS: json.dumps(settings, indent=1).encode(), **files}
    for name in sorted(files, key=lambda name: name == FILE):
        write_changed(Path(directory) / name, files[name])
