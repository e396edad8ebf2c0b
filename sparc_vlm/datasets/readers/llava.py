"""Conversations about pictures in the layout of LLaVA's instruction data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparc_vlm.datasets.readers.files import load_json
from sparc_vlm.datasets.readers.listed import Images, StoredPictures
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.datasets.text import PackedLists
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import DATASETS

ASKS, ANSWERS = 'human', 'gpt'
MARK = '<image>'
"""Stands in a text where the picture is; there is one, so it may go."""


@DATASETS.register_module()
class LlavaConversations(StoredPictures):
    """Pictures and what was asked and answered about them.

    A JSON list of `image`, a path, and `conversations`, dicts of `from`,
    'human' or 'gpt', and `value`, a text (Liu et al., arXiv 2304.08485). Rows
    without a picture, or with several, and those where human and gpt do not
    take turns are counted and left out. What gpt says before the first
    question, and a last question without an answer, are left out, too.

    Args:
        annotations: The file.
        images: Folder, zip or tar of the pictures, or several.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: It is no such list, or nothing in it can be used.
    """

    def __init__(self, annotations: str | Path, images: Images) -> None:
        reading = new_report()
        rows = load_json(annotations, reading)
        if not isinstance(rows, list):
            raise UsageError(
                f'{annotations} is no list: expected rows with image and '
                'conversations'
            )
        texts: list[list[str]] = []

        def names() -> Iterator[str]:
            for number, row in enumerate(rows):
                where = f'{annotations}, row {number}'
                said = _exchanges(row, where, reading)
                if said:
                    texts.append(said)
                    yield row['image']

        super().__init__(images, names(), reading)
        if not texts:
            raise UsageError(
                f'{annotations} has no conversation about a picture: '
                f'{"; ".join(reading["examples"]) or "it is empty"}'
            )
        self._texts = PackedLists(texts)

    def exchanges(self, index: int) -> list[tuple[str, str]]:
        """Questions about the picture with their answers, in order."""
        texts = self._texts[index]
        return list(zip(texts[::2], texts[1::2], strict=True))

    def captions(self, index: int) -> list[str]:
        """All answers."""
        return self._texts[index][1::2]


def _exchanges(row: Any, where: str, reading: Report) -> list[str]:
    """Question, answer, question, answer; nothing where a row is no good."""
    try:
        picture, turns = row.get('image'), row['conversations']
        said = [(turn['from'], turn['value']) for turn in turns]
        texts = [text.replace(MARK, '').strip() for _, text in said]
    except (AttributeError, KeyError, TypeError):
        note(reading, 'skipped_rows', f'{where}: not in the form of LLaVA')
        return []
    if not isinstance(picture, str):
        note(reading, 'skipped_rows', f'{where}: no picture, or several')
        return []
    roles = [role for role, _ in said]
    if roles[:1] == [ANSWERS]:
        roles, texts = roles[1:], texts[1:]
    count = len(roles) // 2
    if not count or roles[: 2 * count] != [ASKS, ANSWERS] * count:
        note(reading, 'skipped_rows', f'{where}: no turns of human and gpt')
        return []
    if not all(texts[1 : 2 * count : 2]):
        note(reading, 'empty_captions', f'{where}: an empty answer')
        return []
    return texts[: 2 * count]
