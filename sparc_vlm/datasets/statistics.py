"""What a tokenizer makes of captions: how long, how many cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sparc_vlm.datasets.pairs import PairSource
from sparc_vlm.datasets.tokens import Tokenizer

# Pictures that tell how many captions one has on average.
SOME = 100


@dataclass(frozen=True)
class TokenCounts:
    """Tokens per caption.

    Attributes:
        captions: Number of captions with a token.
        empty: Number of those without.
        mean: Tokens of a caption on average, as training sees it.
        longest: The most tokens that a caption had, at most `max_length`.
        truncated: Share of captions that were cut.
        unknown: Share of tokens that are the unknown token (id 0 of a
            `CaptionTokenizer`).
    """

    captions: int
    empty: int
    mean: float
    longest: int
    truncated: float
    unknown: float


def count_tokens(captions: Iterable[str], tokenizer: Tokenizer) -> TokenCounts:
    """Counts the tokens of captions.

    Args:
        captions: Gone through once.
        tokenizer: Cuts them as training does.
    """
    lengths, empty, truncated, unknown = [], 0, 0, 0
    for caption in captions:
        tokens = tokenizer.encode(caption)
        if not any(tokens.real):
            empty += 1
            continue
        lengths.append(len(tokens.ids))
        truncated += tokens.truncated
        unknown += tokens.ids.count(getattr(tokenizer, 'unknown_id', -1))
    count = max(len(lengths), 1)
    return TokenCounts(
        len(lengths),
        empty,
        sum(lengths) / count,
        max(lengths, default=0),
        truncated / count,
        unknown / max(sum(lengths), 1),
    )


def all_captions(source: PairSource, most: int | None = None) -> Iterator[str]:
    """Captions of a source, of evenly spread pictures if not of all.

    Args:
        source: Where they come from; no picture is read.
        most: About how many are wanted at the most, None for all.
    """
    total = pictures = len(source)
    if most is not None and total:
        some = range(0, total, -(-total // SOME))
        captions = sum(len(source.captions(index)) for index in some)
        wanted = most * len(some) // max(captions, 1)
        pictures = min(max(wanted, 1), total)
    for number in range(pictures):
        yield from source.captions(number * total // pictures)
