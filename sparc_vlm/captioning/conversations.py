"""What is said about a picture: made of captions, questions or dialogues."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparc_vlm.captioning.chat import Conversation
from sparc_vlm.captioning.presence import Presence, has_boxes
from sparc_vlm.errors import UsageError

DESCRIBE = 'Describe the picture.'


def has_questions(source: Any) -> bool:
    """Whether a source has questions, or boxes to make some of."""
    return hasattr(source, 'questions') or has_boxes(source)


class Talk:
    """Draws conversations about the pictures of a source.

    A source with `exchanges(index)`, questions and answers as a dialogue has
    them, gives these as they stand. Any other gives one of its captions as
    the answer to a prompt; or, where it has `questions(index)`, or boxes to
    make them of (see `Presence`), some of these, each in a turn of its own,
    and a caption where a picture has none.

    Args:
        source: A `PairSource`.
        prompts: What captions are asked for with; one is drawn each time.
        questions: Share of the conversations that are questions.
        max_questions: Of one picture in one conversation. Where there are
            several, one may give away the answer of another.

    Raises:
        ValueError: A number that is out of range, no prompt, or questions
            of a source that has none.
    """

    def __init__(
        self,
        source: Any,
        prompts: tuple[str, ...] = (DESCRIBE,),
        questions: float = 0.0,
        max_questions: int = 1,
    ) -> None:
        if not 0 <= questions <= 1 or max_questions < 1 or not prompts:
            raise UsageError(
                'questions is a share between 0 and 1, max_questions at '
                'least 1, and there must be a prompt, got '
                f'{questions}, {max_questions}, {prompts}'
            )
        if questions and not has_questions(source):
            raise UsageError(
                f'{type(source).__name__} has no questions to learn, and no '
                'boxes to make them of: set questions=0, or for COCO '
                'instances="..."'
            )
        self.source = source
        self._asker = source
        if questions and not hasattr(source, 'questions'):
            self._asker = Presence(source)
        self.prompts = tuple(prompts)
        self.questions = questions
        self.max_questions = max_questions

    def draw(
        self, index: int, rng: np.random.Generator
    ) -> Conversation | None:
        """A conversation about a picture, None where nothing is known.

        Args:
            index: Which picture.
            rng: Where all choices come from.
        """
        if hasattr(self.source, 'exchanges'):
            exchanges = self.source.exchanges(index)
        else:
            asks = self.questions and rng.random() < self.questions
            exchanges = self._questions(index, rng) if asks else []
            exchanges = exchanges or self._caption(index, rng)
        turns = [
            turn
            for asked, answer in exchanges
            for turn in (('user', asked), ('assistant', answer))
        ]
        return Conversation(tuple(turns)) if turns else None

    def _questions(
        self, index: int, rng: np.random.Generator
    ) -> list[tuple[str, str]]:
        found = self._asker.questions(index)
        chosen = rng.permutation(len(found))[: self.max_questions].tolist()
        return [(found[i]['question'], found[i]['answer']) for i in chosen]

    def _caption(
        self, index: int, rng: np.random.Generator
    ) -> list[tuple[str, str]]:
        captions = [text for text in self.source.captions(index) if text]
        if not captions:
            return []
        prompt = self.prompts[rng.integers(len(self.prompts))]
        return [(prompt, captions[rng.integers(len(captions))])]
