"""Pictures and conversations about them, ready for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sparc_vlm.captioning.chat import (
    ChatFormat,
    ChatIds,
    Conversation,
    ConversationError,
    load_format,
)
from sparc_vlm.captioning.conversations import DESCRIBE, Talk
from sparc_vlm.datasets.pairs import PairSource, first_usable
from sparc_vlm.datasets.report import Report, add_report, new_report, note
from sparc_vlm.errors import UsageError
from sparc_vlm.preprocess import Resize, resize_picture, to_tensor
from sparc_vlm.registry import DATASETS


class ChatSample(NamedTuple):
    """A picture and a conversation, ready to be batched.

    Attributes:
        image: (3, H, W) uint8.
        chat: The conversation.
        report: What was counted on the way.
    """

    image: Tensor
    chat: ChatIds
    report: Report


@DATASETS.register_module()
class ChatDataset(Dataset):
    """Pictures, each with a conversation, for a `PairLoader`.

    As `PairDataset`, it is asked for by (index, draw), and every random
    choice comes from (seed, draw).

    Args:
        source: A `PairSource` or its config.
        chat: A `ChatFormat`, or the arguments of `load_format`.
        image_size: Side of the pictures in pixels.
        resize: 'stretch' or 'crop', see `resize_picture`.
        prompts: What captions are asked for with; one is drawn each time.
        questions: Share of the conversations that are questions, for sources
            that have them.
        max_questions: Of one picture in one conversation.
        seed: Of all random choices.

    Raises:
        ValueError: The source has no pictures, or no questions where they
            are asked for, or see `ChatFormat`.
    """

    def __init__(
        self,
        source: PairSource | dict,
        chat: ChatFormat | dict[str, Any],
        image_size: int,
        resize: Resize = 'stretch',
        prompts: Sequence[str] = (DESCRIBE,),
        questions: float = 0.0,
        max_questions: int = 1,
        seed: int = 0,
    ) -> None:
        if isinstance(source, dict):
            source = DATASETS.build(source)
        if isinstance(chat, dict):
            chat = load_format(**chat)
        if not len(source):
            raise UsageError(
                f'{type(source).__name__} has no pictures to train on'
            )
        self.source = source
        self.chat = chat
        self.image_size = image_size
        self.resize = resize
        self.talk = Talk(source, tuple(prompts), questions, max_questions)
        self.seed = seed

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.source)

    def __getitem__(self, place: tuple[int, int]) -> ChatSample:
        """Makes a sample.

        Args:
            place: Index of the picture, and number of the sample in the run.

        Returns:
            The sample; one drawn in its place, and counted, where the picture
            is broken or the conversation cannot be learned.

        Raises:
            RuntimeError: A hundred pictures in a row cannot be used.
        """
        index, draw = place
        rng = np.random.default_rng((self.seed, draw))
        report = new_report(pairs=1)
        return first_usable(self._make, index, len(self), rng, report)

    def length(self, place: tuple[int, int]) -> int:
        """Letters of the conversation, which are as good as its tokens.

        Nothing is decoded and nothing put into tokens for it.

        Args:
            place: As for the sample.
        """
        index, draw = place
        rng = np.random.default_rng((self.seed, draw))
        conversation = self.talk.draw(index, rng) or Conversation(())
        return sum(len(text) for _, text in conversation.turns)

    def collate(self, samples: Sequence[ChatSample]) -> dict[str, Any]:
        """A batch as the captioner takes it.

        Args:
            samples: One or more.

        Returns:
            images: (B, 3, H, W) uint8; chat: a `ChatBatch`; report: counts
            over the batch.
        """
        report = new_report()
        for sample in samples:
            add_report(report, sample.report)
        return {
            'images': torch.stack([sample.image for sample in samples]),
            'chat': self.chat.batch([sample.chat for sample in samples]),
            'report': report,
        }

    def _make(
        self, index: int, rng: np.random.Generator, report: Report
    ) -> ChatSample | None:
        """The sample of a picture, None where nothing is learned from it.

        Raises:
            BrokenImage: It cannot be read.
        """
        key = self.source.key(index)
        conversation = self.talk.draw(index, rng)
        if conversation is None:
            note(report, 'empty_captions', f'{key}: nothing is said of it')
            return None
        try:
            chat = self.chat.encode(conversation)
        except ConversationError as error:
            note(report, 'skipped_rows', f'{key}: {error}')
            return None
        picture = self.source.image(index, self.image_size)
        picture = resize_picture(picture, self.image_size, self.resize)
        if chat.was_cut:
            note(report, 'truncated_captions')
        return ChatSample(to_tensor(picture), chat, report)
