"""Our captioners in `lmms_eval`, through its own table of models.

python -m sparc_vlm.adapters.lmms_eval --model sparc_vlm \
    --model_args pretrained=work_dirs/run/model --tasks pope

takes all arguments of lmms_eval's own command.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sparc_vlm.errors import (
    MissingPackageError,
    UnsupportedError,
    UsageError,
)

NAME = 'sparc_vlm'
MAX_NEW_TOKENS = 32


class Answers:
    """Answers what lmms_eval requests; joined with its base class on demand.

    Args:
        pretrained: What `sparc_vlm.captioning.load` takes.
        device: Where to put the model.
        batch_size: Questions that are answered at a time.
        max_batch_size: Not needed.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str,
        device: str = 'cpu',
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        from sparc_vlm.captioning import load

        self.model = load(pretrained, str(device))
        self.model.batch_size = int(batch_size)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answers to questions about one picture each.

        Args:
            requests: Their `args` are a question, options such as
                `max_new_tokens` and `until`, and how to find the picture.

        Raises:
            ValueError: A question has no picture, or several.
        """

        def limit(request: Any) -> int:
            return request.args[1].get('max_new_tokens', MAX_NEW_TOKENS)

        answers = []
        for most, own in groupby(requests, limit):
            asked = [request.args for request in own]
            images = [self._picture(args) for args in asked]
            questions = [args[0] for args in asked]
            found = self.model.answer(images, questions, max_new_tokens=most)
            answers += [
                _cut(text, args[1].get('until'))
                for text, args in zip(found, asked, strict=True)
            ]
        return answers

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not offered: a question is asked once."""
        raise UnsupportedError('lmms_eval: captioners take one round')

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Not offered: answers are written."""
        raise UnsupportedError('lmms_eval: take a task that generates')

    def _picture(self, args: Sequence[Any]) -> Any:
        """The one picture of a request."""
        _, _, find, number, task, split = args
        pictures = find(self.task_dict[task][split][number])
        if not isinstance(pictures, list):
            pictures = [pictures]
        if len(pictures) != 1:
            raise UsageError(
                f'{task}, question {number}: captioners take one picture, '
                f'got {len(pictures)}'
            )
        return pictures[0]


def _cut(text: str, until: str | Sequence[str] | None) -> str:
    """An answer up to the first of some marks."""
    marks = [until] if isinstance(until, str) else until or ()
    for mark in filter(None, marks):
        text = text.split(mark)[0]
    return text.strip()


def __getattr__(name: str) -> Any:
    """`Model`, the class that lmms_eval makes: the answers on its base.

    Its package is not everyone's, and is imported when it asks.
    """
    if name != 'Model':
        raise AttributeError(name)
    base = importlib.import_module('lmms_eval.api.model').lmms
    return type('Model', (Answers, base), {})


def register() -> None:
    """Puts `Model` into lmms_eval's table of models.

    Raises:
        MissingPackageError: lmms_eval is not installed.
    """
    try:
        models = importlib.import_module('lmms_eval.models')
    except ImportError as error:
        raise MissingPackageError(
            'it is not installed: pip install lmms_eval'
        ) from error
    manifest = importlib.import_module('lmms_eval.models.registry_v2')
    models.MODEL_REGISTRY_V2.register_manifest(
        manifest.ModelManifest(
            NAME, simple_class_path='sparc_vlm.adapters.lmms_eval.Model'
        )
    )


def main() -> None:
    """Runs lmms_eval's own command with our captioners among its models."""
    register()
    importlib.import_module('lmms_eval.__main__').cli_evaluate()


if __name__ == '__main__':
    main()
