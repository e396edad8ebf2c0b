"""Conversations about pictures as the ids and labels of a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparc_vlm.captioning.sources import find_language, loading
from sparc_vlm.captioning.templates import (
    ANSWERS,
    PICTURE,
    Piece,
    Template,
    Turn,
    end_place,
    special_ids,
)
from sparc_vlm.errors import UsageError

IMAGE = -200
"""Stands in `ids` where a picture's tokens go; never embedded."""
IGNORED = -100
"""Stands in `labels` where nothing is learned."""
WORTHWHILE = 0.1
"""Share of a batch's length from which a common start is computed apart."""


class ChatBatch(NamedTuple):
    """Conversations, padded to the longest of the batch.

    A named tuple, so that mmengine's preprocessor and torch's pinning move
    its tensors as they move any other.

    Attributes:
        ids: (B, N) int64 token ids, `IMAGE` where the picture's tokens go.
        labels: (B, N) int64, the id at the same place where it is learned,
            `IGNORED` elsewhere.
        mask: (B, N) bool, True on what is no padding. Padding stands on the
            right for training and on the left for generation.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor

    def shared(self, one_picture: bool = False) -> int:
        """Tokens at the start that all have in common, padding left out.

        A system's prompt, as a rule, or all that comes before the question.
        0 where it is too short to be worth computing apart, or there is one
        conversation. Of each, a token at least comes after it.

        Args:
            one_picture: Whether all are about the same picture; otherwise
                the start ends before it.
        """
        rows, tokens = self.ids.shape
        first = (self.mask.cumsum(1) == 0).sum(1, keepdim=True)
        places = (torch.arange(tokens, device=first.device) + first) % tokens
        ids, real = self.ids.gather(1, places), self.mask.gather(1, places)
        alike = (ids == ids[:1]) & real & (one_picture | (ids != IMAGE))
        length = int(alike.all(0).long().cumprod(0).sum())
        length = min(length, int(self.mask.sum(1).min()) - 1)
        return length if rows > 1 and length >= WORTHWHILE * tokens else 0


class Conversation(NamedTuple):
    """What is said about one picture.

    Attributes:
        turns: Who speaks, and what, in order; answers are the 'assistant's.
            The picture stands before what the user says first.
    """

    turns: tuple[Turn, ...]


class ChatIds(NamedTuple):
    """A conversation as `ChatFormat.encode` puts it.

    Attributes:
        ids: Token ids, `IMAGE` where the picture's tokens go.
        labels: As long, `IGNORED` where nothing is learned.
        was_cut: Whether something had to be left out.
    """

    ids: list[int]
    labels: list[int]
    was_cut: bool


class ConversationError(UsageError):
    """A conversation that cannot be learned from, or answered.

    Its picture and answer alone are too long, say, or there is no answer.
    """


class ChatFormat:
    """Puts conversations into the tokens of a language model.

    They are written with the tokenizer's own chat template. Learned are the
    answers, each up to and with the mark that ends it. A conversation that
    is too long to be learned loses whole questions with their answers, the
    last ones first. Once a single answer is left, and in a prompt, what is
    asked loses words, the longest text its first ones first. Never lost are
    a token of the picture, a part of an answer, and all of a question: to
    learn its answer would be to learn to guess.

    Args:
        tokenizer: Of transformers.
        image_tokens: Tokens of a picture.
        max_length: Tokens of a conversation at most, the picture's among
            them.

    Raises:
        ValueError: No token that ends an answer, or no room for any.
    """

    def __init__(
        self, tokenizer: Any, image_tokens: int, max_length: int = 2048
    ) -> None:
        if max_length <= image_tokens:
            raise UsageError(
                f'max_length={max_length} leaves no room for words beside '
                f"a picture's {image_tokens} tokens: raise it"
            )
        if tokenizer.eos_token_id is None:
            raise UsageError(
                'the tokenizer of the language model has no eos_token, so no '
                'answer would ever end: set one in its tokenizer_config.json'
            )
        self.tokenizer = tokenizer
        self.image_tokens = image_tokens
        self.max_length = max_length
        self.template = Template(tokenizer)
        self._special = special_ids(tokenizer)
        pad = tokenizer.pad_token_id
        self._pad = tokenizer.eos_token_id if pad is None else pad

    def training(self, conversations: Sequence[Conversation]) -> ChatBatch:
        """Conversations to learn from, padded on the right.

        Raises:
            ConversationError: One cannot be cut without losing its answer
                or its question, has none, or does not ask.
            ValueError: The template does not take one.
        """
        return self.batch([self.encode(each) for each in conversations])

    def prompts(self, prompts: Sequence[Sequence[Turn]]) -> ChatBatch:
        """Conversations to go on with, padded on the left.

        Answers then begin right behind all prompts of a batch. Nothing in
        them is learned.

        Args:
            prompts: Turns of each, the last one the user's.

        Raises:
            ConversationError: One cannot be cut to `max_length`, or does not
                ask.
            ValueError: The template does not take one.
        """
        encoded = [self._encode(list(turns), True) for turns in prompts]
        return self.batch(encoded, left=True)

    def encode(self, conversation: Conversation) -> ChatIds:
        """One conversation to learn from; see `training`."""
        if all(role != ANSWERS for role, _ in conversation.turns):
            raise ConversationError('there is no answer to learn')
        return self._encode(list(conversation.turns), False)

    def batch(
        self, encoded: Sequence[ChatIds], left: bool = False
    ) -> ChatBatch:
        """Pads conversations to the longest.

        Args:
            encoded: One or more.
            left: Where the padding goes.
        """
        longest = max(len(each.ids) for each in encoded)
        shape = (len(encoded), longest)
        ids = torch.full(shape, self._pad)
        labels = torch.full(shape, IGNORED)
        mask = torch.zeros(shape, dtype=torch.bool)
        for row, each in enumerate(encoded):
            count = len(each.ids)
            place = slice(longest - count, None) if left else slice(count)
            ids[row, place] = torch.tensor(each.ids)
            labels[row, place] = torch.tensor(each.labels)
            mask[row, place] = True
        return ChatBatch(ids, labels, mask)

    def _encode(self, turns: list[Turn], prompt: bool) -> ChatIds:
        """Ids of a conversation, cut until it fits."""
        turns = [(role, self.template.clean(text)) for role, text in turns]
        if (ANSWERS, '') in turns:
            raise ConversationError('an answer is empty')
        was_cut = False
        while True:
            ids, labels = self._tokens(turns, prompt)
            too_many = len(ids) - self.max_length
            if too_many <= 0:
                if prompt:
                    labels = [IGNORED] * len(ids)
                return ChatIds(ids, labels, was_cut)
            turns, was_cut = self._cut(turns, too_many, prompt), True

    def _tokens(
        self, turns: Sequence[Turn], prompt: bool
    ) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        labels: list[int] = []
        for piece in self.template.pieces(_with_picture(turns), prompt):
            before, mark, after = piece.text.partition(PICTURE)
            if piece.answer is not None:
                learned, rest = self._answer(piece)
                ids += learned + rest
                labels += learned + [IGNORED] * len(rest)
                continue
            new = self._ids(before)
            if mark:
                new += [IMAGE] * self.image_tokens + self._ids(after)
            ids += new
            labels += [IGNORED] * len(new)
        return ids, labels

    def _answer(self, piece: Piece) -> tuple[list[int], list[int]]:
        """Ids of an answer with its end, and of what the template adds."""
        before, answer, after = piece.text.partition(piece.answer)
        said, rest = self._ids(before + answer), self._ids(after)
        place = end_place(rest, self._special)
        if place is None:
            return [*said, self.tokenizer.eos_token_id], rest
        return said + rest[: place + 1], rest[place + 1 :]

    def _cut(
        self, turns: list[Turn], too_many: int, prompt: bool
    ) -> list[Turn]:
        """A conversation with less in it than before."""
        if not prompt:
            answers = [
                i for i, (role, _) in enumerate(turns) if role == ANSWERS
            ]
            # What follows a single answer is no part of what is learned.
            fewer = turns[: answers[-2:][0] + 1]
            if len(fewer) < len(turns):
                return fewer
        asked = [i for i, (role, _) in enumerate(turns) if role != ANSWERS]
        place = max(asked, key=lambda i: len(self._ids(turns[i][1])))
        role, text = turns[place]
        kept = self._ids(text)[too_many:]
        # A character may have lost a part of its bytes.
        rest = self.tokenizer.decode(kept).lstrip('\ufffd').strip()
        rest = rest if len(rest) < len(text) else ''
        if not rest and (role == 'user' or not text):
            needed = too_many + self.max_length
            raise ConversationError(
                f'the picture and what is said are {needed} tokens, and '
                f'max_length is {self.max_length}, which leaves no word of '
                'a question: raise it'
            )
        return [*turns[:place], (role, rest), *turns[place + 1 :]]

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)


def load_format(
    path: str,
    image_tokens: int,
    max_length: int = 2048,
    gguf_file: str | None = None,
) -> ChatFormat:
    """The format of a language model, which itself is not loaded.

    Args:
        path: As `Language` takes it.
        image_tokens: As `ChatFormat`.
        max_length: As `ChatFormat`.
        gguf_file: As `Language` takes it.

    Raises:
        ValueError: There is no such model, or no tokenizer in it.
        MissingPackageError: What holds it is not installed.
    """
    from transformers import AutoTokenizer

    folder = find_language(path, gguf_file)
    with loading(f'the tokenizer of {path}'):
        tokenizer = AutoTokenizer.from_pretrained(folder)
    return ChatFormat(tokenizer, image_tokens, max_length)


def _with_picture(turns: Sequence[Turn]) -> list[Turn]:
    """The picture before what the user says first."""
    turns = list(turns)
    for place, (role, text) in enumerate(turns):
        if role == 'user':
            turns[place] = (role, f'{PICTURE}\n{text}'.strip())
            return turns
    raise ConversationError('the user says nothing')
