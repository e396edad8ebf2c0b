"""Where the pretrained model looks for each noun of a generated caption.

The captioner's eyes were pretrained with a text encoder beside them, whose
alignment of words with patches is asked afterwards whether what was written
is on the picture, and where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparc_vlm.evaluation.chair_words import COCO_WORDS
from sparc_vlm.evaluation.encoding import (
    finite_patches,
    has_words,
    whole_picture,
)
from sparc_vlm.evaluation.ranking import unit_rows
from sparc_vlm.evaluation.tagging import Tagger
from sparc_vlm.evaluation.words import (
    Alignment,
    encode_words,
    merge_pieces,
    own_alignment,
)
from sparc_vlm.naming import plain

NounFinder = Callable[[Sequence[str], str], list[int]]
"""From a caption's words, and the caption, to the places of its nouns."""


@dataclass(frozen=True)
class GroundedWord:
    """A noun of a caption, and where the model looks for it.

    Attributes:
        until: The caption's words up to this one, as the model's tokenizer
            has them.
        weights: (P,) weights of the patches.
        fit: Cosine of the word and of the patches so weighted (equation 5):
            whether what it looks at is what the word means.
    """

    until: tuple[str, ...]
    weights: Tensor
    fit: float

    @property
    def word(self) -> str:
        """In small letters, without punctuation."""
        return plain(self.until[-1])

    @property
    def peak(self) -> float:
        """How far the map is from looking everywhere, 0 to 1.

        1 less the share of patches that would do if all had the same weight:
        1 - 1 / (P * sum of squares), of weights that add up to 1.
        """
        share = self.weights.double().clamp(min=0)
        share = share / share.sum().clamp(min=1e-12)
        patches = 1 / share.square().sum().clamp(min=1e-12)
        return float((1 - patches / len(share)).clamp(min=0))


def words_among(nouns: Sequence[str]) -> NounFinder:
    """Finds the words of a fixed list, such as the shapes of scenes.

    Args:
        nouns: In the singular; their plurals are found too.
    """
    known = {
        form for noun in nouns for form in (noun, f'{noun}s', f'{noun}es')
    }

    def find(words: Sequence[str], caption: str) -> list[int]:
        return [at for at, word in enumerate(words) if plain(word) in known]

    return find


def nouns_for(classes: Iterable[str]) -> NounFinder:
    """Finds the nouns that may name a class of the data.

    Of COCO's classes, which people call by many words, all nouns; of others,
    such as 'red circle', the last words. spaCy takes 'orange', 'right'
    and the like in a scene's caption for nouns.

    Args:
        classes: Of the data; without any, all nouns.

    Raises:
        ImportError: It takes spaCy, which is not installed.
    """
    classes = list(classes)
    if not classes or set(classes) & set(COCO_WORDS):
        return tagged_nouns()
    return words_among(sorted({label.split()[-1] for label in classes}))


def tagged_nouns(tagger: Tagger | None = None) -> NounFinder:
    """Finds what spaCy tags as nouns.

    Args:
        tagger: Knows the tags; None makes one.

    Raises:
        ImportError: spaCy or its pipeline is not installed.
    """
    tagger = tagger or Tagger('Attribution')

    def find(words: Sequence[str], caption: str) -> list[int]:
        nouns = set(tagger.nouns(caption))
        return [
            at
            for at, word in enumerate(words)
            if nouns & set(tagger.words(plain(word)))
        ]

    return find


@torch.no_grad()
@torch.autocast('cpu', enabled=False)
def ground_captions(
    model: Any,
    picture: Any,
    captions: Sequence[str],
    find_nouns: NounFinder,
    alignment: Alignment | None = None,
    batch_size: int = 32,
) -> tuple[list[list[GroundedWord]], tuple[int, int]]:
    """The nouns of a picture's captions, and where the model looks for them.

    Args:
        model: A pretrained model with `encode_image`, `encode_text` and
            `tokenizer`.
        picture: A PIL picture, seen whole.
        captions: Any texts; one without a word has no noun.
        find_nouns: Which words are nouns.
        alignment: Weights of the patches for each token; None takes the
            model's own `align`.
        batch_size: Captions that are encoded at a time.

    Returns:
        For each caption its nouns in order; and the rows and columns that
        the patches stand in.

    Raises:
        ValueError: The model has no tokenizer, alignment or patches in the
            space of text, or its values are not finite.
    """
    alignment = own_alignment(alignment, model)
    seen = model.encode_image([whole_picture(model, picture)])
    (patches,), _ = finite_patches(seen, 'grounding')
    told = [text for text in dict.fromkeys(captions) if has_words(model, text)]
    known: dict[str, list[GroundedWord]] = {}
    for text, encoded in zip(
        told, encode_words(model, told, batch_size), strict=True
    ):
        weights = alignment(encoded.tokens[None], patches[None])[0]
        fits = unit_rows(encoded.tokens) * unit_rows(weights @ patches)
        fit = merge_pieces(fits.sum(1, keepdim=True), encoded.owners)
        maps = merge_pieces(weights, encoded.owners)
        known[text] = [
            GroundedWord(
                tuple(encoded.words[: at + 1]), maps[at], float(fit[at])
            )
            for at in find_nouns(encoded.words, text)
        ]
    return [known.get(text, []) for text in captions], seen.grid


def grounding_score(words: Sequence[GroundedWord]) -> float:
    """How well a caption's nouns are found: mean of peak plus fit.

    From -1 to 2. A caption without a noun says nothing that could be found:
    0, which a map that looks everywhere for a word unlike all it sees has.

    Args:
        words: Nouns of the caption.
    """
    if not words:
        return 0.0
    return sum(word.peak + word.fit for word in words) / len(words)
