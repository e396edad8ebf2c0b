"""A unigram tokenizer trained on the data's own captions.

The paper's kind: sub-words by a unigram language model, 32k of them at full
scale, at most 55 tokens a caption, no begin or end marks.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import (
    Tokenizer as Backend,
)
from tokenizers import (
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from sparc_vlm.datasets.tokens import (
    FILE,
    MAX_LENGTH,
    SETTINGS,
    TokenIds,
    Tokenizer,
    assign_words,
    save_files,
)
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import TOKENIZERS

UNKNOWN = '<unk>'
# Characters beyond this share of all text are left to the unknown token: web
# captions hold thousands of characters that are met once.
COVERAGE = 0.9995
# A word met so often is worth a token of its own.
FREQUENT = 3


@TOKENIZERS.register_module()
class CaptionTokenizer(Tokenizer):
    """Sub-words of lower-cased captions.

    Args:
        path: Folder or file that `save` wrote.
        max_length: Tokens kept of a caption; None for what was saved.

    Raises:
        FileNotFoundError: There is no tokenizer at `path`.
        ValueError: It is damaged, or of another kind.

    Attributes:
        vocab_size: Number of token ids.
        max_length: Tokens kept of a caption.
        unknown_id: Of the unknown token.
    """

    def __init__(
        self, path: str | Path, max_length: int | None = None
    ) -> None:
        folder = Path(path)
        file = folder / FILE if folder.is_dir() else folder
        if not file.is_file():
            raise MissingFileError(
                f'no tokenizer at {file}: train one with '
                'tools/prepare_data.py tokenizer'
            )
        settings = file.with_name(SETTINGS)
        if max_length is None and settings.is_file():
            max_length = json.loads(settings.read_text())['max_length']
        try:
            tokenizer = Backend.from_file(str(file))
        except Exception as error:  # tokenizers raises nothing narrower
            raise UsageError(f'{file} is no tokenizer: {error}') from error
        self._set(tokenizer, max_length or MAX_LENGTH)

    def _set(self, tokenizer: Backend, max_length: int) -> None:
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.vocab_size = tokenizer.get_vocab_size()
        self.unknown_id = tokenizer.token_to_id(UNKNOWN)

    @classmethod
    def train(
        cls,
        captions: Iterable[str],
        vocab_size: int = 32_000,
        max_length: int = MAX_LENGTH,
        show_progress: bool = False,
    ) -> CaptionTokenizer:
        """Trains a tokenizer.

        Args:
            captions: Gone through once and kept.
            vocab_size: The most ids there will be; small data give fewer.
            max_length: Tokens kept of a caption.
            show_progress: Show the trainer's own progress bars.

        Raises:
            ValueError: No caption has a character in it.
        """
        tokenizer = Backend(models.Unigram())
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Nmt(), normalizers.NFKC(), normalizers.Lowercase()]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Metaspace(),
                pre_tokenizers.Punctuation('isolated'),
            ]
        )
        normal = tokenizer.normalizer.normalize_str
        texts = [normal(caption) for caption in captions]
        rare = _rare_characters(texts, vocab_size)
        if rare:
            table = str.maketrans(dict.fromkeys(rare, ' '))
            texts = [text.translate(table) for text in texts]
        if not any(text.strip() for text in texts):
            raise UsageError('no captions to train a tokenizer on')
        trainer = trainers.UnigramTrainer(
            vocab_size=max(vocab_size // 2, 2),
            special_tokens=[UNKNOWN],
            unk_token=UNKNOWN,
            show_progress=show_progress,
        )
        tokenizer.train_from_iterator(_batches(texts), trainer, len(texts))
        _add_words(tokenizer, texts, vocab_size)
        trained = cls.__new__(cls)
        trained._set(tokenizer, max_length)
        return trained

    def encode(self, text: str) -> TokenIds:
        """Tokens of one caption; none where it is empty.

        Args:
            text: Any text; characters never met in training become the
                unknown token.
        """
        encoding = self._tokenizer.encode(text)
        ids = encoding.ids[: self.max_length]
        return TokenIds(
            ids,
            [True] * len(ids),
            assign_words(text, encoding.offsets[: self.max_length]),
            len(encoding) > self.max_length,
        )

    def save(self, directory: str | Path) -> None:
        """Writes the vocabulary and the settings.

        Args:
            directory: Made if it is not there.

        Raises:
            OSError: The disk is full, or the folder cannot be written to;
                each file that stood there still does.
        """
        vocabulary = self._tokenizer.to_str(pretty=True)
        save_files(self, directory, {FILE: vocabulary.encode()})


def load_tokenizer(
    directory: str | Path, max_length: int | None = None
) -> CaptionTokenizer:
    """Loads whatever kind of tokenizer a folder holds.

    Args:
        directory: Where a tokenizer's `save` wrote.
        max_length: Tokens kept of a caption; None for what was saved.

    Raises:
        FileNotFoundError: The folder holds no tokenizer.
    """
    settings = Path(directory) / SETTINGS
    kind = 'CaptionTokenizer'
    if settings.is_file():
        saved = json.loads(settings.read_text())
        kind = saved['type']
        max_length = max_length or saved['max_length']
    return TOKENIZERS.build(
        {'type': kind, 'path': str(directory), 'max_length': max_length}
    )


def has_tokenizer(directory: str | Path) -> bool:
    """Whether a folder holds a whole tokenizer that `load_tokenizer` takes.

    A vocabulary that was cut short, as by a full disk, is none.
    """
    file = Path(directory) / FILE
    try:
        return file.is_file() and bool(json.loads(file.read_bytes()))
    except ValueError:
        return False


def _batches(texts: list[str], size: int = 1000) -> Iterator[list[str]]:
    texts_left = iter(texts)
    while batch := list(itertools.islice(texts_left, size)):
        yield batch


def _add_words(tokenizer: Backend, texts: list[str], vocab_size: int) -> None:
    """Gives frequent words a token of their own, in place.

    The trainer looks for sub-words in the list of different words: one that
    shares no part with another word is left in letters however often it is
    met. All scores are then counted anew with the sub-words of the rest.
    """
    words: Counter[str] = Counter()
    for text in texts:
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(text)
        words.update(piece for piece, _ in pieces)
    known = set(tokenizer.get_vocab()) - {UNKNOWN}
    ranked = sorted(words, key=lambda word: (-words[word], word))
    fresh = [w for w in ranked if w not in known and words[w] >= FREQUENT]
    whole = known.union(fresh[: max(vocab_size - 1 - len(known), 0)])
    counts: Counter[str] = Counter(dict.fromkeys(whole, 1))
    for word in ranked:
        times = words[word]
        if word in whole:
            counts[word] += times
            # Once for each word, so that new words are split like these.
            times = 1
        for piece in tokenizer.model.tokenize(word):
            if piece.value in known:
                counts[piece.value] += times
    total = math.log(sum(counts.values()))
    scores = [(piece, math.log(n) - total) for piece, n in counts.items()]
    scores.sort(key=lambda entry: (-entry[1], entry[0]))
    tokenizer.model = models.Unigram([(UNKNOWN, 0.0), *scores], unk_id=0)


def _rare_characters(texts: list[str], vocab_size: int) -> list[str]:
    """Characters too rare to be given an id of their own."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    total, seen, kept = sum(counts.values()), 0, 0
    ranked = sorted(counts, key=lambda c: (-counts[c], c))
    for kept, character in enumerate(ranked):
        if seen >= COVERAGE * total or kept >= vocab_size // 2:
            return ranked[kept:]
        seen += counts[character]
    return []
