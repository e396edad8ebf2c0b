"""SampleWords: what a picture is asked for while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from sparc_vlm.errors import UsageError
from sparc_vlm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SampleWords(BaseTransform):
    """Adds words to a picture's own that are not in it.

    First those that somebody has looked for in vain; then, up to
    `num_negatives`, words of the vocabulary, which are taken to be absent,
    as OWL-ViT does. A word that the picture shows without all of its boxes
    is never taken for absent. All draws are from numpy's global state, which
    mmengine seeds in each worker.

    Args:
        num_negatives: Words of each picture that are not in it, if the
            vocabulary has as many; more where more are known to be absent.
        by_frequency: Draws words in proportion to their boxes, rather than
            all alike.
        templates: Texts with a place for the word, '{}', of which each word
            gets one at random.

    Raises:
        ValueError: A template without '{}'.
    """

    def __init__(
        self,
        num_negatives: int = 50,
        by_frequency: bool = True,
        templates: Sequence[str] = ('{}',),
    ) -> None:
        for template in templates:
            if '{}' not in template:
                raise UsageError(
                    f'SampleWords: the template {template!r} has no place '
                    "for the word, '{}'"
                )
        self.num_negatives = num_negatives
        self.by_frequency = by_frequency
        self.templates = tuple(templates)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Sets `words` and `incomplete`, and numbers the labels anew.

        Args:
            results: With `words`, `absent`, `incomplete`, `vocabularies` and
                `gt_bboxes_labels`; a word whose boxes were all cut away is
                in the picture no more.
        """
        labels = np.asarray(results['gt_bboxes_labels'], dtype=np.int64)
        places, labels = np.unique(labels, return_inverse=True)
        words = [results['words'][place] for place in places]
        shown = {*words, *results['incomplete']}
        absent = [
            w for w in dict.fromkeys(results['absent']) if w not in shown
        ]
        absent += self._drawn(results, shown | {*absent}, len(absent))
        incomplete = {*results['incomplete']}
        texts = [self._text(word) for word in (*words, *absent)]
        return results | dict(
            gt_bboxes_labels=labels.reshape(-1),
            words=tuple(texts),
            incomplete=tuple(
                text
                for word, text in zip(words, texts, strict=False)
                if word in incomplete
            ),
        )

    def _drawn(
        self, results: dict[str, Any], without: set[str], known: int
    ) -> list[str]:
        """Words of the vocabularies, of each as many, up to the number."""
        found: list[str] = []
        vocabularies = results['vocabularies']
        for place, vocabulary in enumerate(vocabularies):
            wanted = self.num_negatives - known - len(found)
            share = -(-wanted // (len(vocabularies) - place))
            if share > 0:
                found += vocabulary.draw(
                    share, without | {*found}, self.by_frequency
                )
        return found

    def _text(self, word: str) -> str:
        return self.templates[np.random.randint(len(self.templates))].format(
            word
        )
