"""Writing answers with a language model, by transformers' own `generate`.

Only the draws are ours: each sample has random numbers of its own, so that
it is the same in whatever batch it is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from sparc_vlm.errors import UsageError

if TYPE_CHECKING:
    from transformers import DynamicCache

    from sparc_vlm.captioning.language import Language


class Sampling:
    """How many answers of each picture are drawn, and how.

    Args:
        num_samples: Answers of each picture.
        temperature: Of the draws; 0 takes the likeliest token each time.
        seed: Of the draws; None draws one.
        first: Number of the first picture.

    Raises:
        ValueError: No sample, or a temperature or a seed below 0.
    """

    def __init__(
        self,
        num_samples: int = 1,
        temperature: float = 0.0,
        seed: int | None = None,
        first: int = 0,
    ) -> None:
        if num_samples < 1:
            raise UsageError(
                f'num_samples must be at least 1, got {num_samples}'
            )
        if temperature < 0:
            raise UsageError(
                f'temperature must be at least 0, got {temperature}'
            )
        if seed is not None and seed < 0:
            raise UsageError(f'seed must be at least 0, got {seed}')
        self.num_samples = num_samples
        self.temperature = temperature
        if seed is None:
            seed = int(torch.randint(2**31, ()))
        self.seed = seed
        self.first = first

    @property
    def num_drawn(self) -> int:
        """Answers that may differ: without draws all are the same."""
        return self.num_samples if self.temperature else 1

    def noise(self, pictures: int) -> GumbelNoise:
        """The draws for so many pictures."""
        words = [
            np.random.SeedSequence([self.seed, self.first + picture, sample])
            for picture in range(pictures)
            for sample in range(self.num_drawn)
        ]
        seeds = [int(word.generate_state(1, np.uint64)[0]) for word in words]
        return GumbelNoise(self.temperature, seeds)


class GumbelNoise(LogitsProcessor):
    """Makes the highest score a draw from the softmax of all.

    Gumbel's trick (Maddison et al., arXiv 1411.0030): the place of the
    maximum of z / temperature + g, g standard Gumbel, is distributed as the
    softmax of z / temperature.

    Args:
        temperature: Above 0.
        seeds: One for each row.
    """

    def __init__(self, temperature: float, seeds: list[int]) -> None:
        self.temperature = temperature
        self.generators = [
            torch.Generator().manual_seed(seed) for seed in seeds
        ]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(R, V) scores with noise.

        Args:
            input_ids: (R, N) ids so far; not needed.
            scores: (R, V) logits of the next token.
        """
        drawn = torch.stack(
            [
                torch.empty(scores.shape[1]).exponential_(generator=generator)
                for generator in self.generators
            ]
        )
        return scores / self.temperature - drawn.log().to(scores)


class Prompts(NamedTuple):
    """What answers are written to.

    Attributes:
        embeds: (B, N, D) embedded prompts.
        mask: (B, N) bool, False on padding, which stands on the left.
        shared: So many tokens after the padding are the same in all rows,
            which are longer.
    """

    embeds: Tensor
    mask: Tensor
    shared: int = 0

    def start_first(self) -> Prompts:
        """The same, with padding behind the start instead of before it."""
        embeds, mask, shared = self
        padding = (~mask).sum(1, keepdim=True)
        column = torch.arange(mask.shape[1], device=mask.device)
        is_padding = column < shared + padding
        behind = torch.where(is_padding, column - shared, column)
        places = torch.where(column < shared, column + padding, behind)
        wide = places[..., None].expand_as(embeds)
        return Prompts(embeds.gather(1, wide), mask.gather(1, places), shared)


def write_answers(
    language: Language,
    prompts: Prompts,
    max_new_tokens: int,
    sampling: Sampling,
) -> list[list[str]]:
    """Answers to prompts.

    Args:
        language: The language model, in eval mode.
        prompts: B of them.
        max_new_tokens: Tokens of an answer at most.
        sampling: How many are drawn of each.

    Returns:
        B lists of texts, without marks.

    Raises:
        ValueError: No token may be written, or a prompt ends with padding.
    """
    if max_new_tokens < 1:
        raise UsageError(
            f'max_new_tokens must be at least 1, got {max_new_tokens}'
        )
    if not prompts.mask[:, -1].all():
        raise UsageError(
            'prompts are padded on the left, so that answers follow them: '
            'make the batch with the `prompts` of a ChatFormat'
        )
    drawn = sampling.num_drawn
    draws = [sampling.noise(len(prompts.mask))] if sampling.temperature else []
    prompts, known = _computed(language, prompts, drawn)
    ids = language.causal.generate(
        inputs_embeds=prompts.embeds.repeat_interleave(drawn, 0),
        attention_mask=prompts.mask.long().repeat_interleave(drawn, 0),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        logits_processor=draws,
        **known,
    )
    texts = language.tokenizer.batch_decode(ids, skip_special_tokens=True)
    texts = [text.strip() for text in texts]
    return [
        texts[start : start + drawn] * (sampling.num_samples // drawn)
        for start in range(0, len(texts), drawn)
    ]


def _computed(
    language: Language, prompts: Prompts, drawn: int
) -> tuple[Prompts, dict[str, DynamicCache]]:
    """What rows have in common, computed before they part.

    Args:
        language: The language model.
        prompts: B of them.
        drawn: Answers of each: all of a prompt but its last token, from
            which the first word is drawn, is common to them.

    Returns:
        The prompts, with a common start first, and what `generate` takes
        besides.
    """
    if not language.can_share or (drawn == 1 and not prompts.shared):
        return prompts, {}
    if drawn > 1:
        rows, length, copies = len(prompts.mask), -1, drawn
    else:
        prompts = prompts.start_first()
        rows, length, copies = 1, prompts.shared, len(prompts.mask)
    start = prompts.embeds[:rows, :length], prompts.mask[:rows, :length]
    return prompts, language.after(*start, copies)
