"""Captions against their own words in another order: ARO's order tests.

Made of any captioned source: with Karpathy's test splits of COCO and
Flickr30k they are COCO-Order and Flickr30k-Order. The four shuffles are
ARO's; the random order is ours, since theirs is not published, and so are the
tokens of the trigrams, which are spaCy's and not NLTK's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from PIL import Image

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.options import check_counts
from sparc_vlm.evaluation.tagging import need_pipeline
from sparc_vlm.registry import DATASETS

NOUNS = frozenset('NN NNS NNP NNPS'.split())
ADJECTIVES = frozenset('JJ JJR JJS'.split())
# Left out of captions, as BLIP's retrieval and ARO do.
_MARKS = re.compile(r'[.!"()*#:;~]')

Words = list[str]


def shuffle_nouns_and_adjectives(
    words: Words, tags: Sequence[str], rng: Random
) -> Words:
    """Nouns change places with nouns, adjectives with adjectives."""
    words = _shuffle_at(words, [tag in NOUNS for tag in tags], rng)
    return _shuffle_at(words, [tag in ADJECTIVES for tag in tags], rng)


def shuffle_all_others(
    words: Words, tags: Sequence[str], rng: Random
) -> Words:
    """All but nouns and adjectives change places."""
    others = [tag not in NOUNS | ADJECTIVES for tag in tags]
    return _shuffle_at(words, others, rng)


def shuffle_within_trigrams(
    words: Words, tags: Sequence[str], rng: Random
) -> Words:
    """Of each three words in a row the order changes."""
    return [
        word
        for three in _trigrams(words)
        for word in rng.sample(three, len(three))
    ]


def shuffle_trigrams(words: Words, tags: Sequence[str], rng: Random) -> Words:
    """Groups of three words change places and stay as they are."""
    threes = _trigrams(words)
    return [
        word for three in rng.sample(threes, len(threes)) for word in three
    ]


SHUFFLES: tuple[Callable[[Words, Sequence[str], Random], Words], ...] = (
    shuffle_nouns_and_adjectives,
    shuffle_all_others,
    shuffle_within_trigrams,
    shuffle_trigrams,
)


@DATASETS.register_module()
class WordOrder:
    """A captioned source, each caption with up to four shuffles as foils.

    It stands in this room since the tags do. A shuffle that leaves a caption
    as it is, or that another has made already, is left out.

    Args:
        source: A source of captioned pictures, or its config.
        seed: Of the shuffles; a caption's are the same in every process.
        captions_per_image: Takes the first so many captions of a picture;
            None takes all.
        max_words: Captions and foils are cut after so many words.

    Raises:
        ImportError: spaCy or its pipeline is not installed.
    """

    def __init__(
        self,
        source: Any,
        seed: int = 0,
        captions_per_image: int | None = None,
        max_words: int = 30,
    ) -> None:
        if max_words < 2:
            raise UsageError(f'one word has no order: max_words={max_words}')
        is_config = isinstance(source, dict)
        self.source = DATASETS.build(source) if is_config else source
        self.seed = seed
        check_counts('WordOrder', captions_per_image=captions_per_image)
        self.captions_per_image = captions_per_image
        self.max_words = max_words
        self._pipeline = need_pipeline('WordOrder')

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.source)

    def key(self, index: int) -> str:
        """The picture's name in the source."""
        return self.source.key(index)

    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """The picture in RGB; see the source."""
        return self.source.image(index, at_least)

    def captions(self, index: int) -> list[str]:
        """The captions that are shuffled, as they are written."""
        return self.source.captions(index)[: self.captions_per_image]

    def foils(self, index: int) -> list[dict[str, Any]]:
        """The captions with their words in other orders.

        Args:
            index: Which picture.

        Returns:
            For each its `kind`, 'order'; the `caption`, in small letters and
            without most marks; and `foil`, a list of shuffles.
        """
        rows = []
        documents = self._pipeline.pipe(self.captions(index))
        for number, document in enumerate(documents):
            rng = Random(f'{self.seed}-{self.key(index)}-{number}')
            words = [token.text for token in document]
            tags = [token.tag_ for token in document]
            same = self._plain(' '.join(words))
            shuffled = (
                self._plain(' '.join(shuffle(words, tags, rng)))
                for shuffle in SHUFFLES
            )
            rows.append(
                {
                    'kind': 'order',
                    'caption': self._plain(document.text),
                    'foil': [t for t in dict.fromkeys(shuffled) if t != same],
                }
            )
        return rows

    def _plain(self, text: str) -> str:
        """Small letters, no marks, single blanks, not too long."""
        words = _MARKS.sub(' ', text.lower()).split()
        return ' '.join(words[: self.max_words])


def _shuffle_at(words: Words, chosen: Sequence[bool], rng: Random) -> Words:
    """Words of which the chosen ones have changed places."""
    places = [at for at, flag in enumerate(chosen) if flag]
    moved = list(words)
    for at, place in zip(places, rng.sample(places, len(places)), strict=True):
        moved[at] = words[place]
    return moved


def _trigrams(words: Words) -> list[Words]:
    return [words[at : at + 3] for at in range(0, len(words), 3)]
