"""Chooses among several captions of a picture, or withholds them all.

Where a captioner invents, its samples disagree; what the pretrained model
finds on the picture decides between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparc_vlm.captioning.grounding import (
    NounFinder,
    ground_captions,
    grounding_score,
    nouns_for,
    words_among,
)
from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.clip_score import clip_scores
from sparc_vlm.evaluation.encoding import encode_texts, has_words, on_cpu
from sparc_vlm.registry import MODELS

KINDS = ('grounding', 'likelihood', 'clip_score')


@dataclass(frozen=True)
class Rated:
    """A caption and what it was rated.

    Attributes:
        text: The caption.
        score: Higher is better.
    """

    text: str
    score: float


@MODELS.register_module()
class Rerank:
    """How captions are drawn and rated.

    * 'grounding': `grounding_score` of the caption's nouns, by the model that
      the eyes were pretrained in;
    * 'likelihood': mean log-probability of its tokens, by the captioner;
    * 'clip_score': `clip_scores` of the picture and the caption, by the model
      that the eyes were pretrained in.

    The likeliest caption, drawn with no chance, is always among them, first,
    and wins ties: what is chosen is never less than that by the score.

    Args:
        by: One of these.
        num_samples: Captions drawn beside the likeliest.
        temperature: Of the draws.
        threshold: Captions with a lower score are dropped; None drops none.
        nouns: What counts as a noun for 'grounding', in the singular; None
            leaves it to `classes`.
        seed: Of the draws.
        classes: Of the data, whose names tell the nouns (see `nouns_for`);
            without them, all nouns by spaCy. The task gives those of its own
            data where none are named.

    Raises:
        ValueError: An unknown kind, or a number out of range.
        ImportError: 'grounding' takes spaCy, which is not there.
    """

    def __init__(
        self,
        by: str = 'grounding',
        num_samples: int = 5,
        temperature: float = 1.0,
        threshold: float | None = None,
        nouns: Sequence[str] | None = None,
        seed: int = 0,
        classes: Sequence[str] = (),
    ) -> None:
        if by not in KINDS:
            raise UsageError(f'by must be one of {", ".join(KINDS)}, got {by}')
        if num_samples < 0 or temperature <= 0:
            raise UsageError(
                'num_samples is at least 0 and temperature above 0, got '
                f'{num_samples} and {temperature}'
            )
        if seed < 0:
            raise UsageError(f'seed must be at least 0, got {seed}')
        self.by = by
        self.num_samples = num_samples
        self.temperature = temperature
        self.threshold = threshold
        self.seed = seed
        self.find_nouns: NounFinder | None = None
        if by == 'grounding':
            self.find_nouns = (
                words_among(nouns) if nouns else nouns_for(classes)
            )

    def wrap(self, model: Any) -> Reranked:
        """The captioner, with this choice made for each picture.

        Args:
            model: As `captioning.load` gives.

        Raises:
            ValueError: It lacks what the choice takes.
        """
        return Reranked(model, self)


class Reranked:
    """A captioner that writes several captions, and gives the best.

    Pictures are numbered as they come, over all calls, so that what is drawn
    for one does not depend on how many are asked for at a time.

    Args:
        model: Has `caption` and `answer`; and `eyes_model`, or
            `likelihood`, as the choice needs it.
        choice: How captions are drawn and rated.

    Raises:
        ValueError: The model lacks what the choice takes.
    """

    def __init__(self, model: Any, choice: Rerank) -> None:
        self.model = model
        self.choice = choice
        self._seen = 0
        self.eyes_model = getattr(model, 'eyes_model', None)
        if choice.by == 'likelihood':
            if not hasattr(model, 'likelihood'):
                raise UsageError(
                    f'{type(model).__name__} cannot say how likely a caption '
                    'is: choose by grounding or clip_score'
                )
        elif self.eyes_model is None:
            raise UsageError(
                f'the eyes of this captioner have no text encoder, which '
                f'{choice.by} takes: choose by likelihood'
            )

    def answer(self, *arguments: Any, **options: Any) -> list[str]:
        """What the captioner itself answers."""
        return self.model.answer(*arguments, **options)

    def caption(
        self,
        images: Sequence[Any],
        prompt: str | None = None,
        max_new_tokens: int = 40,
    ) -> list[list[str]]:
        """The best caption of each picture.

        Args:
            images: PIL pictures.
            prompt: What is asked for; None takes the model's own.
            max_new_tokens: Tokens of a caption at most.

        Returns:
            For each picture a list of one, or of none where all are below
            the threshold.
        """
        least = self.choice.threshold
        chosen = []
        for rated in self.rate(images, prompt, max_new_tokens):
            best = max(rated, key=lambda one: one.score)
            is_dropped = least is not None and best.score < least
            chosen.append([] if is_dropped else [best.text])
        return chosen

    def rate(
        self,
        images: Sequence[Any],
        prompt: str | None = None,
        max_new_tokens: int = 40,
    ) -> list[list[Rated]]:
        """The captions of each picture with their scores, likeliest first.

        Args:
            images: PIL pictures.
            prompt: What is asked for; None takes the model's own.
            max_new_tokens: Tokens of a caption at most.
        """
        choice = self.choice
        asked = dict(prompt=prompt, max_new_tokens=max_new_tokens)
        found = self.model.caption(images, **asked)
        if choice.num_samples:
            drawn = self.model.caption(
                images,
                num_samples=choice.num_samples,
                temperature=choice.temperature,
                seed=choice.seed,
                first=self._seen,
                **asked,
            )
            self._seen += len(images)
            found = [a + b for a, b in zip(found, drawn, strict=True)]
        found = [list(dict.fromkeys(own)) for own in found]
        return [
            [
                Rated(text, score)
                for text, score in zip(
                    own, self._scores(image, own, prompt), strict=True
                )
            ]
            for image, own in zip(images, found, strict=True)
        ]

    def _scores(
        self, image: Any, captions: list[str], prompt: str | None
    ) -> list[float]:
        """What a picture's captions are rated; an empty one is the worst."""
        told = [c for c in captions if self._says_something(c)]
        known = {}
        if told:
            scores = getattr(self, f'_by_{self.choice.by}')(
                image, told, prompt
            )
            known = dict(zip(told, scores, strict=True))
        return [known.get(caption, float('-inf')) for caption in captions]

    def _says_something(self, caption: str) -> bool:
        if self.eyes_model is None:
            return bool(caption.strip())
        return has_words(self.eyes_model, caption)

    def _by_grounding(
        self, image: Any, captions: list[str], prompt: str | None
    ) -> list[float]:
        words, _ = ground_captions(
            self.eyes_model, image, captions, self.choice.find_nouns
        )
        return [grounding_score(own) for own in words]

    def _by_likelihood(
        self, image: Any, captions: list[str], prompt: str | None
    ) -> list[float]:
        pictures = [image] * len(captions)
        return list(self.model.likelihood(pictures, captions, prompt))

    def _by_clip_score(
        self, image: Any, captions: list[str], prompt: str | None
    ) -> list[float]:
        texts = encode_texts(self.eyes_model, captions, len(captions))
        picture = on_cpu(self.eyes_model.encode_image([image]).image)
        return clip_scores(picture.expand(len(texts), -1), texts).tolist()
