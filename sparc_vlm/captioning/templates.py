"""A chat template taken apart: what is asked, and what is answered.

Templates are programs that write a conversation down as one text. Which part
of it is an answer is found by writing it down twice, up to where the answer
begins and up to where it ends.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.logging import print_log

from sparc_vlm.errors import UsageError

Turn = tuple[str, str]
"""Who speaks ('system', 'user' or 'assistant'), and what."""
ANSWERS = 'assistant'
PICTURE = '<image>'
"""Stands for the picture in a text; texts of conversations are without."""
PLAIN = (
    '{{ bos_token }}'
    '{% for message in messages %}'
    "{{ message['role'].capitalize() + ': ' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{{ '\n' }}"
    '{% endfor %}'
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""For tokenizers without a template of their own."""


class Piece(NamedTuple):
    """A part of a conversation that is put into tokens by itself.

    Attributes:
        text: As the template writes it, marks included.
        answer: The answer that is in it, None in what is asked.
    """

    text: str
    answer: str | None


class Template:
    """Writes conversations as the language model is used to.

    Args:
        tokenizer: Of transformers; its own template is taken, `PLAIN` where
            it has none, which is said in the log.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.name = getattr(tokenizer, 'name_or_path', '') or 'tokenizer'
        self._own = None
        if not getattr(tokenizer, 'chat_template', None):
            self._own = PLAIN
            print_log(
                f'{self.name} has no chat template: conversations are '
                'written plainly, "User: ... Assistant: ..."',
                'current',
            )
        added = getattr(tokenizer, 'added_tokens_decoder', {}).values()
        marks = {token.content for token in added if token.special}
        marks |= {*tokenizer.all_special_tokens, PICTURE}
        self._marks = re.compile('|'.join(map(re.escape, sorted(marks))))

    def clean(self, text: str) -> str:
        """A text without marks, which would end a turn or be a picture."""
        while (rest := self._marks.sub('', text)) != text:
            text = rest
        return text.strip()

    def pieces(self, turns: Sequence[Turn], prompt: bool) -> Iterator[Piece]:
        """The conversation in order, cut before and after each answer.

        What is asked is put into tokens by itself, and so is the answer:
        the same tokens as when the model is asked and answers.

        Args:
            turns: Clean texts.
            prompt: Whether it ends with the beginning of an answer.

        Raises:
            ValueError: The template refuses the conversation, or what it
                writes for a turn depends on later ones.
        """
        done = ''
        for place, (role, text) in enumerate(turns):
            if role != ANSWERS:
                continue
            asked = self._write(turns[:place], True)
            whole = self._write(turns[: place + 1], False)
            self._check(
                asked.startswith(done)
                and whole.startswith(asked)
                and text in whole[len(asked) :]
            )
            yield Piece(asked[len(done) :], None)
            yield Piece(whole[len(asked) :], text)
            done = whole
        if prompt:
            asked = self._write(turns, True)
            self._check(asked.startswith(done))
            yield Piece(asked[len(done) :], None)

    def _write(self, turns: Sequence[Turn], prompt: bool) -> str:
        messages = [{'role': role, 'content': text} for role, text in turns]
        try:
            return self.tokenizer.apply_chat_template(
                messages,
                chat_template=self._own,
                tokenize=False,
                add_generation_prompt=prompt,
                # Templates that think first leave it out; others look away.
                enable_thinking=False,
            )
        except Exception as error:  # a template may raise what it likes
            roles = ', '.join(role for role, _ in turns)
            said = ' '.join(str(error).split())
            raise UsageError(
                f'the chat template of {self.name} refuses a conversation of '
                f'{roles}: {said}'
            ) from error

    def _check(self, holds: bool) -> None:
        if not holds:
            raise UsageError(
                f'the chat template of {self.name} writes a turn in another '
                'way once it is answered or others follow, so what is '
                'learned would never be asked for: put another chat_template '
                'into its tokenizer_config.json'
            )


def end_mark(tokenizer: Any) -> int | None:
    """The token that ends an answer, as it is learned.

    It need not be what the tokenizer names as the end of a text.

    Args:
        tokenizer: Of transformers.

    Returns:
        The tokenizer's own where its template writes no mark, None where it
        has none either.

    Raises:
        ValueError: The template does not take a question and its answer.
    """
    if not getattr(tokenizer, 'chat_template', None):
        # Written plainly, which ends so; the log need not say that again.
        return tokenizer.eos_token_id
    turns = [('user', f'{PICTURE}\nWhat?'), (ANSWERS, 'That.')]
    _, piece = Template(tokenizer).pieces(turns, False)
    _, _, after = piece.text.partition(piece.answer)
    ids = tokenizer.encode(after, add_special_tokens=False)
    place = end_place(ids, special_ids(tokenizer))
    return tokenizer.eos_token_id if place is None else ids[place]


def special_ids(tokenizer: Any) -> set[int]:
    """Tokens that are marks, also those that the tokenizer has no name for.

    Args:
        tokenizer: Of transformers; `all_special_ids` has the named ones.
    """
    added = getattr(tokenizer, 'added_tokens_decoder', {}).items()
    marks = {number for number, token in added if token.special}
    return marks | set(tokenizer.all_special_ids)


def end_place(ids: Sequence[int], special: Collection[int]) -> int | None:
    """Place of the mark that ends an answer among what follows it.

    Args:
        ids: What the template writes behind the answer.
        special: Tokens that are marks.

    Returns:
        None where there is no mark.
    """
    marks = (place for place, token in enumerate(ids) if token in special)
    return next(marks, None)
