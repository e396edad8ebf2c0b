"""Words as queries: each different one encoded once, kept while it may be.

A picture's queries are its own words; a batch holds them padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from mmdet.structures import SampleList
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.detection.words.vocabulary import prompted_words
from sparc_vlm.errors import UsageError
from sparc_vlm.models import ImageTextPretrainer
from sparc_vlm.models.modes import evaluating
from sparc_vlm.models.pooling import mean_of_real

CHUNK = 256
"""Texts that are encoded at a time where no gradient is wanted."""


class WordQueries(NamedTuple):
    """The words of B pictures, Q at most.

    Attributes:
        values: (B, Q, D) normalised embeddings, zeros in the padding.
        mask: (B, Q) bool, True on words.
    """

    values: Tensor
    mask: Tensor


def words_of(
    samples: SampleList, default: Sequence[str] | None
) -> list[tuple[str, ...]]:
    """What each sample is asked for.

    Args:
        samples: With `text`, a prompt of MMDetection's, or else `words`.
        default: The words of those that have neither.

    Raises:
        ValueError: A sample has neither and there is no default, or there
            are no words in its text.
    """
    lists = []
    for sample in samples:
        text = sample.get('text', None)
        words = sample.get('words', default)
        if text is not None:
            words = prompted_words(text)
        if words is None:
            raise UsageError(
                'there are no words to look for: give each sample words or '
                'a text, or the model some (model.words)'
            )
        lists.append(tuple(words))
    return lists


def encode_texts(
    encoders: ImageTextPretrainer, texts: Sequence[str]
) -> Tensor:
    """(N, D) normalised global text embeddings, with gradients.

    Args:
        encoders: With a tokenizer.
        texts: None of them empty.
    """
    if not texts:
        width = encoders.text_adapter.out_features
        return encoders.log_scale.new_zeros(0, width)
    batch = encoders.tokenizer.batch(list(texts))
    tokens = encoders.data_preprocessor.cast_data(batch)
    features = mean_of_real(encoders.text(tokens), tokens)
    return F.normalize(encoders.text_adapter(features).float(), dim=-1)


def lay_out(lists: Sequence[Sequence[str]], table: dict[str, int]) -> Tensor:
    """(B, Q) rows of a table of words, -1 in the padding.

    Args:
        lists: The words of each picture.
        table: The row of each word.
    """
    longest = max(map(len, lists), default=0)
    return torch.tensor(
        [
            [*map(table.__getitem__, words), *[-1] * (longest - len(words))]
            for words in lists
        ],
        dtype=torch.long,
    ).view(len(lists), longest)


def queries_of(
    lists: Sequence[Sequence[str]], table: dict[str, int], values: Tensor
) -> WordQueries:
    """Each picture's rows of a table of embeddings.

    Args:
        lists: The words of each picture.
        table: The row of each word.
        values: (N, D) the embeddings.
    """
    rows = lay_out(lists, table).to(values.device)
    padded = torch.cat([values, values.new_zeros(1, values.shape[1])])
    # -1 is the row of zeros at the end
    return WordQueries(padded[rows], rows >= 0)


def numbered(lists: Iterable[Iterable[str]]) -> dict[str, int]:
    """The different words of all lists, numbered as they are met."""
    words = dict.fromkeys(word for words in lists for word in words)
    return {word: row for row, word in enumerate(words)}


class KeptWords:
    """Embeddings of words that are used again until something changes.

    Weights that are loaded or set show in the parameters' version counters.
    Fused optimizers and averages of weights go past these: whoever trains or
    changes the mode calls `forget`.

    Args:
        templates: Texts with a place for the word, '{}'; a word's embedding
            is the normalised mean over them.
    """

    def __init__(self, templates: Sequence[str]) -> None:
        self.templates = tuple(templates)
        self._weights: tuple = ()
        self._kept: dict[str, Tensor] = {}

    def forget(self) -> None:
        """Drops all that is kept."""
        self._kept = {}

    @torch.no_grad()
    def encode(
        self, encoders: ImageTextPretrainer, words: Iterable[str]
    ) -> Tensor:
        """(N, D) embeddings; words asked for last time are not run again.

        Args:
            encoders: With a tokenizer.
            words: Different ones.
        """
        weights = tuple(
            (value.data_ptr(), value._version)
            for part in (encoders.text, encoders.text_adapter)
            for value in part.parameters()
        )
        if weights != self._weights:
            self.forget()
            self._weights = weights
        words = list(words)
        missing = [word for word in words if word not in self._kept]
        with evaluating(encoders.text):
            for start in range(0, len(missing), CHUNK):
                part = missing[start : start + CHUNK]
                found = zip(part, self._encode(encoders, part), strict=True)
                self._kept |= dict(found)
        self._kept = {word: self._kept[word] for word in words}
        if not words:
            return encode_texts(encoders, [])
        return torch.stack(list(self._kept.values()))

    def _encode(
        self, encoders: ImageTextPretrainer, words: Sequence[str]
    ) -> Tensor:
        means = sum(
            encode_texts(encoders, [text.format(word) for word in words])
            for text in self.templates
        )
        return F.normalize(means, dim=-1)
