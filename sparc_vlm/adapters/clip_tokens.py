"""CLIP's byte-pair tokenizer as `open_clip` carries it, with words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparc_vlm.datasets.tokens import (
    TokenIds,
    Tokenizer,
    assign_words,
    split_words,
)
from sparc_vlm.errors import UnsupportedError


class ClipTokenizer(Tokenizer):
    """open_clip's `SimpleTokenizer`, which also says whose tokens are whose.

    Args:
        inner: open_clip's own.
        max_length: Tokens kept of a caption, marks included.
    """

    def __init__(self, inner: Any, max_length: int) -> None:
        self._inner = inner
        self.max_length = max_length
        self.vocab_size = inner.vocab_size

    def encode(self, text: str) -> TokenIds:
        """Tokens of one caption between begin and end mark.

        Args:
            text: Any text; where it is empty no token is real.
        """
        clean = self._inner.clean_fn(text)
        ids, offsets = [], []
        for match in self._inner.pat.finditer(clean):
            pieces = self._inner.encode(match[0])
            ids += pieces
            offsets += [match.span()] * len(pieces)
        kept = self.max_length - 2
        words = assign_words(clean, offsets[:kept])
        inner = self._inner
        return TokenIds(
            [inner.sot_token_id, *ids[:kept], inner.eot_token_id],
            [False, *[True] * len(words), False],
            [None, *words, None],
            len(ids) > kept,
        )

    def word_spans(self, text: str) -> list[str]:
        """The words that `TokenIds.words` points to, as the model reads them.

        Args:
            text: The caption.
        """
        return split_words(self._inner.clean_fn(text))

    def save(self, directory: str | Path) -> None:
        """Cannot be saved: it belongs to open_clip.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            f'{directory}: the tokenizer belongs to open_clip and is not saved'
        )
