"""A trained captioner, as whoever uses it sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from sparc_vlm.captioning.captioner import Captioner
from sparc_vlm.captioning.chat import ChatFormat, Conversation
from sparc_vlm.errors import UsageError
from sparc_vlm.models import ImageTextPretrainer
from sparc_vlm.preprocess import Picture, picture_batch


class LoadedCaptioner:
    """Writes about pictures; what `sparc_vlm.captioning.load` returns.

    Args:
        captioner: In eval mode.
        batch_size: Pictures that go through the model at a time.
    """

    def __init__(self, captioner: Captioner, batch_size: int = 16) -> None:
        self.captioner = captioner
        self.batch_size = batch_size
        language = captioner.language
        self.chat = ChatFormat(
            language.tokenizer, captioner.image_tokens, language.max_length
        )

    @property
    def eyes_model(self) -> ImageTextPretrainer | None:
        """The pretrained model of ours whose image encoder it sees with."""
        model = self.captioner.eyes.pretrained
        return None if model is None else model.to(self.captioner.device)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights, which tell where it computes."""
        return self.captioner.parameters()

    def caption(
        self,
        images: Sequence[Picture],
        prompt: str | None = None,
        num_samples: int = 1,
        temperature: float = 0.0,
        max_new_tokens: int = 40,
        seed: int = 0,
        first: int = 0,
    ) -> list[list[str]]:
        """Captions of pictures.

        Args:
            images: PIL pictures or paths.
            prompt: What to do; None is what it was trained to be asked.
            num_samples: Captions of each picture.
            temperature: Of the draws; 0 takes the likeliest token each time,
                which makes all samples the same.
            max_new_tokens: Tokens of a caption at most.
            seed: Of the draws. A sample depends on it, on the place of its
                picture and on its own number, not on the batch.
            first: Place of the first picture, where these are a part of
                many.

        Returns:
            A list of `num_samples` texts for each picture.

        Raises:
            ValueError: A picture that is in no list, or a number that is out
                of range.
        """
        if isinstance(images, Picture):
            raise UsageError('pictures come in a list: caption([picture])')
        prompts = [prompt or self.captioner.prompt] * len(images)
        draws = dict(
            num_samples=num_samples, temperature=temperature, seed=seed
        )
        return self._write(images, prompts, max_new_tokens, first, **draws)

    def answer(
        self,
        images: Sequence[Picture],
        questions: Sequence[str],
        max_new_tokens: int = 10,
    ) -> list[str]:
        """The likeliest answer to a question about each picture.

        Args:
            images: PIL pictures or paths.
            questions: One for each.
            max_new_tokens: Tokens of an answer at most.
        """
        return [
            text for (text,) in self._write(images, questions, max_new_tokens)
        ]

    def likelihood(
        self,
        images: Sequence[Picture],
        captions: Sequence[str],
        prompt: str | None = None,
    ) -> list[float]:
        """Mean log-probability of a caption's tokens, its end included.

        Args:
            images: PIL pictures or paths.
            captions: One for each.
            prompt: As for `caption`.
        """
        prompt = prompt or self.captioner.prompt

        def measure(
            pixels: Tensor, shown: list[int], texts: list[str], _: int
        ) -> list[float]:
            turns = [(('user', prompt), ('assistant', text)) for text in texts]
            chat = self.chat.training([Conversation(turn) for turn in turns])
            found = self.captioner.log_likelihood(pixels, chat, shown)
            return found.tolist()

        return self._in_batches(images, captions, measure)

    def _write(
        self,
        images: Sequence[Picture],
        prompts: Sequence[str],
        max_new_tokens: int,
        first: int = 0,
        **draws: Any,
    ) -> list[list[str]]:
        def write(
            pixels: Tensor, shown: list[int], texts: list[str], place: int
        ) -> list[Any]:
            chat = self.chat.prompts([[('user', text)] for text in texts])
            return self.captioner.generate(
                pixels,
                chat,
                max_new_tokens,
                first=first + place,
                shown=shown,
                **draws,
            )

        return self._in_batches(images, prompts, write)

    def _in_batches(
        self,
        images: Sequence[Picture],
        texts: Sequence[str],
        work: Callable[[Tensor, list[int], list[str], int], list[Any]],
    ) -> list[Any]:
        """Results of batches.

        Args:
            images: A picture for each text; one that repeats in a batch, as
                the same object, is read and looked at once.
            texts: Any.
            work: Takes pixels, of each text the place of its picture in
                these, the texts, and the number of the first of them.
        """
        if len(images) != len(texts):
            raise UsageError(
                f'{len(images)} pictures and {len(texts)} texts: give one '
                'text for each picture'
            )
        eyes = self.captioner.eyes
        found = []
        for first in range(0, len(images), self.batch_size):
            own = slice(first, first + self.batch_size)
            pictures = list(images[own])
            distinct = {id(picture): picture for picture in pictures}
            places = {key: place for place, key in enumerate(distinct)}
            pixels = picture_batch(
                list(distinct.values()), eyes.image_size, eyes.resize
            )
            pixels = pixels.to(self.captioner.device)
            shown = [places[id(picture)] for picture in pictures]
            found += work(pixels, shown, list(texts[own]), first)
        return found
