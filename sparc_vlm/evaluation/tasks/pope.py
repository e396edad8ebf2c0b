"""POPE: does a model say that it sees what is not there?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.encoding import image_chunks
from sparc_vlm.evaluation.hallucination import coco_words, vouched_for
from sparc_vlm.evaluation.pope import (
    KINDS,
    PAPER_KINDS,
    Asked,
    ask,
    says_yes,
    tally,
)
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.registry import TASKS

_SHARES = ('accuracy', 'precision', 'recall', 'f1', 'yes')


@TASKS.register_module()
class POPE(Task):
    """Questions about objects that are there and as many that are not.

    For each kind of question, 'random_', 'popular_', 'adversarial_' and, if
    asked for, 'similar_' (see `ask`), in percent: 'accuracy', and with yes as
    what is looked for 'precision', 'recall', 'f1', and 'yes', the share of
    questions answered so. Chance answers by a coin.

    Objects are those that have boxes: of scenes 'red circle'. What is there as
    a crowd or, of COCO's classes, named in people's captions without a box is
    not asked for. Pictures without a box, or on which every class is, are not
    asked about.

    A sample is a picture: its `key`, the metrics, `asked`, the questions with
    their answers, and counts that the metrics are shares of.

    Args:
        dataset: A source of pictures with boxes, or the config of one.
        name: The first part of the task's keys in a log.
        batch_size: Questions that are answered at a time.
        max_images: Measures on at most so many pictures.
        per_picture: Asks for so many objects that are there, at most, and as
            many that are not.
        kinds: Of questions, those of the paper by default; one word may name
            several, with commas between them. Of scenes take 'random' and
            'similar': see `ask`.
        seed: Of what is asked.

    Raises:
        ValueError: The source has no boxes, or a kind is unknown.
    """

    def __init__(
        self,
        dataset: Any,
        name: str = 'pope',
        batch_size: int = 16,
        max_images: int | None = None,
        per_picture: int = 3,
        kinds: Sequence[str] = PAPER_KINDS,
        seed: int = 0,
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        if not hasattr(self.source, 'boxes'):
            raise UsageError(
                f'{name}: {type(self.source).__name__} has no boxes; take a '
                'dataset that has them'
            )
        # So that a flag can name them: kinds=random,similar.
        kinds = kinds.split(',') if isinstance(kinds, str) else kinds
        if not kinds or set(kinds) - set(KINDS) or per_picture < 1:
            raise UsageError(
                f'{name}: kinds are some of {", ".join(KINDS)} and '
                f'per_picture is at least 1, got {kinds} and {per_picture}'
            )
        self.per_picture = per_picture
        self.kinds = tuple(kinds)
        self.seed = seed

    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Asks a model; see `Task.run`.

        Args:
            model: Has `answer`, as `captioning.load` gives.
            progress: As in `Task.run`.

        Raises:
            ValueError: The model gives no answers, no picture can be read,
                or there is nothing to ask.
        """
        self.need_captioner(model, 'answer')
        shown = {
            index: [row['name'] for row in self.source.boxes(index)]
            for index in self.indices
        }
        words = coco_words(getattr(self.source, 'classes', ()))
        unsure = {
            index: vouched_for(self.source, index, words)
            for index in self.indices
        }
        asked: dict[int, list[tuple[str, Asked]]] = {}
        for kind in self.kinds:
            for question in ask(
                shown, kind, self.per_picture, self.seed, unsure
            ):
                own = asked.setdefault(question.picture, [])
                own.append((kind, question))
        if not asked:
            raise UsageError(
                f'{self.name}: no picture has a box of one class and none of '
                'another'
            )
        broken: dict[int, str] = {}
        samples = []
        rows: dict[str, list[tuple[bool, bool | None]]] = {}
        for indices, pictures in image_chunks(
            self.source, list(asked), 1, broken, progress, self.name
        ):
            (index,), (picture,) = indices, pictures
            answers = self._answers(model, picture, asked[index])
            sample, own = self._sample(index, asked[index], answers)
            samples.append(sample)
            for kind, found in own.items():
                rows.setdefault(kind, []).extend(found)
        metrics = {
            f'{kind}_{key}': value
            for kind, own in rows.items()
            for key, value in tally(own).items()
            if key in _SHARES and value is not None
        }
        unclear = sum(
            answer is None for own in rows.values() for _, answer in own
        )
        skipped = {
            'broken pictures': len(broken),
            'pictures with nothing to ask': len(shown) - len(asked),
            'answers that are neither yes nor no': unclear,
        }
        return TaskResult(
            self.name,
            metrics,
            samples,
            dict.fromkeys(metrics, 50.0),
            self.report_skipped(skipped, broken),
        )

    def _answers(
        self, model: Any, picture: Any, asked: list[tuple[str, Asked]]
    ) -> list[str]:
        """The answers to a picture's questions, each asked once."""
        texts = list(dict.fromkeys(one.text for _, one in asked))
        answers: list[str] = []
        for start in range(0, len(texts), self.batch_size):
            part = texts[start : start + self.batch_size]
            answers += model.answer([picture] * len(part), part)
        known = dict(zip(texts, answers, strict=True))
        return [known[one.text] for _, one in asked]

    def _sample(
        self,
        index: int,
        asked: list[tuple[str, Asked]],
        answers: list[str],
    ) -> tuple[dict[str, Any], dict[str, list[tuple[bool, bool | None]]]]:
        """One picture's sample, and what was answered, by kind."""
        rows: dict[str, list[tuple[bool, bool | None]]] = {
            kind: [] for kind in self.kinds
        }
        told = []
        for (kind, one), answer in zip(asked, answers, strict=True):
            rows[kind].append((one.is_there, says_yes(answer)))
            told.append(
                {
                    'kind': kind,
                    'object': one.name,
                    'is_there': one.is_there,
                    'answer': answer,
                }
            )
        counts = {
            f'{kind}_{key}': value
            for kind, own in rows.items()
            for key, value in tally(own).items()
        }
        return {'key': self.source.key(index), **counts, 'asked': told}, rows
