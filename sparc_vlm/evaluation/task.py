"""What a zero-shot task is: pairs and a model in, numbers out.

A task sees a model only through `encode_image` and `encode_text`, so that
any model that has both can be measured. Some need more and say so: pointing
its tokenizer and `align`, what is about written captions `caption`, `answer`.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.options import check_counts
from sparc_vlm.registry import DATASETS

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total) after each chunk."""


@dataclass(frozen=True)
class TaskResult:
    """What a task found.

    Attributes:
        name: The task's name, the first part of its keys in a log.
        metrics: The numbers, in percent unless the task says otherwise.
        samples: One dict of plain JSON values per sample, in the order of
            the source, so that two models can be compared pair by pair.
        chance: What guessing scores, under the keys of `metrics`.
        skipped: How many samples were left out or could not be scored, by
            reason.
    """

    name: str
    metrics: dict[str, float]
    samples: list[dict[str, Any]] = field(default_factory=list)
    chance: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)

    def save(self, path: str | Path) -> None:
        """Writes the result as JSON, making the folder if need be."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_json(), indent=1))


class Task(ABC):
    """Base of the zero-shot tasks.

    Args:
        dataset: A source of captioned pictures, or the config of one.
        name: The first part of the task's keys in a log.
        batch_size: Pictures, or captions, encoded at a time.
        max_images: Measures on at most so many pictures, spread evenly over
            the source; None takes all.

    Raises:
        ValueError: The source is empty, or a size is not positive.
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        batch_size: int = 64,
        max_images: int | None = None,
    ) -> None:
        check_counts(name, batch_size=batch_size, max_images=max_images)
        is_config = isinstance(dataset, dict)
        self.source = DATASETS.build(dataset) if is_config else dataset
        if not len(self.source):
            raise UsageError(f'{name}: the dataset holds no picture')
        self.name = name
        self.batch_size = batch_size
        self.indices = spread_evenly(len(self.source), max_images)

    @abstractmethod
    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Measures a model.

        Args:
            model: Anything with `encode_image` and `encode_text`.
            progress: Told after each chunk how far the work has come.
        """

    def need_segments(self) -> None:
        """Raises a ValueError where the source has no segments."""
        if not hasattr(self.source, 'segments'):
            raise UsageError(
                f'{self.name}: {type(self.source).__name__} has no segments; '
                'take a dataset that has them'
            )

    def need_captioner(self, model: Any, ability: str) -> None:
        """Raises a ValueError where a model lacks `caption` or `answer`."""
        if not hasattr(model, ability):
            raise UsageError(
                f'{self.name}: {type(model).__name__} writes nothing (it has '
                f'no `{ability}`): give the model folder of a captioner'
            )

    def report_skipped(
        self, skipped: dict[str, int], broken: dict[int, str]
    ) -> dict[str, int]:
        """Says in the log what was left out, with at most three reasons.

        Args:
            skipped: How many, by reason; zeros are allowed.
            broken: Why each picture that could not be read could not.

        Returns:
            The counts without the zeros.
        """
        counts = {reason: count for reason, count in skipped.items() if count}
        if counts:
            said = ', '.join(f'{n} {reason}' for reason, n in counts.items())
            reasons = '; '.join(list(broken.values())[:3])
            print_log(
                f'{self.name}: {said}' + (f' ({reasons})' if reasons else ''),
                logger='current',
                level=logging.WARNING,
            )
        return counts


def spread_evenly(count: int, most: int | None) -> list[int]:
    """Numbers below a count: all of them, or some in even steps.

    Args:
        count: How many there are.
        most: At most so many are wanted; None wants all.
    """
    wanted = min(count, most or count)
    places = np.linspace(0, count, wanted, endpoint=False)
    return [int(place) for place in places]


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A rich progress bar as a task's `progress` callback."""
    from rich import progress as rich

    columns = (
        rich.TextColumn('{task.description}'),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, transient=True) as display:
        lines: dict[str, rich.TaskID] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in lines:
                lines[what] = display.add_task(what, total=total)
            display.update(lines[what], completed=done, total=total)

        yield advance
