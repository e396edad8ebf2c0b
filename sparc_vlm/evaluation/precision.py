"""K-Precision: the share of a caption's words that its references have.

The paper asks for words that 'appear in the captions' and does not say how
repeats count. Here they are clipped; membership alone would give somewhat
higher values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sparc_vlm.evaluation.tagging import Tagger


def clipped_precision(
    words: Sequence[str], references: Iterable[Sequence[str]]
) -> float | None:
    """Share of words that are found in references, in percent.

    As BLEU counts them: a word said n times is found n times at most as often
    as the one reference says it that says it most.

    Args:
        words: The words in question.
        references: Words of each reference.

    Returns:
        None where there is no word to be found.
    """
    if not words:
        return None
    allowed: Counter[str] = Counter()
    for reference in references:
        allowed |= Counter(reference)
    return 100 * (Counter(words) & allowed).total() / len(words)


def k_precision(
    tagger: Tagger, caption: str, references: Iterable[str]
) -> dict[str, float | None]:
    """K-Precision of a caption, in percent; see `clipped_precision`.

    Args:
        tagger: Knows words and tags.
        caption: Of which every word should be in the references.
        references: Captions that are true of the picture.

    Returns:
        'k_p' over all words; 'k_pna' over nouns and adjectives, which may be
        any word of the references; None where the caption has no such word.
    """
    known = [tagger.words(reference) for reference in references]
    return {
        'k_p': clipped_precision(tagger.words(caption), known),
        'k_pna': clipped_precision(tagger.content(caption), known),
    }
