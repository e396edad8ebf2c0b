"""Attribution: is what a caption names where the model looks for it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sparc_vlm.captioning.grounding import (
    GroundedWord,
    ground_captions,
    grounding_score,
    nouns_for,
)
from sparc_vlm.errors import UsageError
from sparc_vlm.evaluation.caption_tokens import caption_tokens
from sparc_vlm.evaluation.encoding import own_pictures
from sparc_vlm.evaluation.hallucination import (
    coco_words,
    pooled,
    share,
    vouched_for,
)
from sparc_vlm.evaluation.task import Progress, Task, TaskResult
from sparc_vlm.evaluation.tasks.pointing import hit
from sparc_vlm.naming import named_objects
from sparc_vlm.registry import TASKS


@TASKS.register_module()
class Attribution(Task):
    """Where the pretrained model looks for the nouns that a captioner wrote.

    Over nouns that name a class of the data, in percent:

    * 'pointing': of those whose object is there, how often the word's
      strongest patch has its centre in a box of that class; chance is the
      share of the patches that have;
    * 'tells_invented': how often a noun whose object is there has a higher
      `peak` plus `fit` than one whose object is not, of all pairs of the two
      (area under the curve); chance is 50. This is what a filter lives on.
      Left out are nouns without a box whose object people's captions name,
      or that a crowd shows: their object may be there.

    'grounding_score' is the captions' own, from -1 to 2 (see
    `grounding_score`), times 100.

    Words name classes of COCO by synonyms (see `ObjectWords`), and others,
    such as 'red circle', as `named_objects` has it of all classes: 'a red
    circle' is not there where all circles are blue, and 'a circle' is.

    A sample is a picture: its `key`, `caption`, `nouns`, how many name what
    is there, 'pointing' and its `chance`, 'grounding_score', and `words`, of
    each noun that names a class its score and whether it is there and hit;
    `is_there` is None where that is left open.

    Args:
        dataset: A source of pictures with boxes, or the config of one.
        name: The first part of the task's keys in a log.
        batch_size: Pictures that are captioned at a time.
        max_images: Measures on at most so many pictures.
        prompt: What a caption is asked for with; None takes the model's own.
        max_new_tokens: Tokens of a caption at most.

    Raises:
        ValueError: The source has no boxes.
        ImportError: The classes are COCO's, and spaCy is not installed.
    """

    def __init__(
        self,
        dataset: Any,
        name: str = 'attribution',
        batch_size: int = 16,
        max_images: int | None = None,
        prompt: str | None = None,
        max_new_tokens: int = 40,
    ) -> None:
        super().__init__(dataset, name, batch_size, max_images)
        classes = list(getattr(self.source, 'classes', []))
        if not hasattr(self.source, 'boxes') or not classes:
            raise UsageError(
                f'{name}: {type(self.source).__name__} has no boxes; take a '
                'dataset that has them'
            )
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.synonyms = coco_words(classes)
        self.find_nouns = nouns_for(classes)

    def run(self, model: Any, progress: Progress | None = None) -> TaskResult:
        """Measures a captioner; see `Task.run`.

        Args:
            model: Has `caption` and `eyes_model`, as `captioning.load` gives.
            progress: As in `Task.run`.

        Raises:
            ValueError: The model writes no captions, its eyes have no text
                encoder, no picture can be read, or no caption names a class.
        """
        self.need_captioner(model, 'caption')
        eyes = getattr(model, 'eyes_model', None)
        if eyes is None:
            raise UsageError(
                f'{self.name}: the eyes of this captioner have no text '
                'encoder, so that nothing says where a word is'
            )
        broken: dict[int, str] = {}
        samples = []
        for indices, pictures in own_pictures(self, broken, progress):
            found = model.caption(
                pictures,
                prompt=self.prompt,
                max_new_tokens=self.max_new_tokens,
            )
            for index, picture, own in zip(
                indices, pictures, found, strict=True
            ):
                if own:
                    samples.append(self._sample(eyes, index, picture, own[0]))
        rated = [word for sample in samples for word in sample['words']]
        if not rated:
            raise UsageError(f'{self.name}: no caption names a class')
        metrics = {
            'pointing': pooled(samples, 'pointing', 'nouns'),
            'grounding_score': pooled(samples, 'grounding_score'),
            'tells_invented': area_under_curve(
                [word['score'] for word in rated if word['is_there']],
                [word['score'] for word in rated if word['is_there'] is False],
            ),
        }
        chance = {
            'pointing': pooled(samples, 'chance', 'nouns'),
            'tells_invented': 50.0,
        }
        skipped = {
            'broken pictures': len(broken),
            'captions that name nothing that is there': sum(
                not sample['nouns'] for sample in samples
            ),
            'nouns without a box that may be there': sum(
                word['is_there'] is None for word in rated
            ),
        }
        known = {key: v for key, v in metrics.items() if v is not None}
        return TaskResult(
            self.name,
            known,
            samples,
            {key: v for key, v in chance.items() if key in known},
            self.report_skipped(skipped, broken),
        )

    def _sample(
        self, eyes: Any, index: int, picture: Any, caption: str
    ) -> dict[str, Any]:
        """One picture's sample."""
        (nouns,), grid = ground_captions(
            eyes, picture, [caption], self.find_nouns
        )
        boxes = self.source.boxes(index)
        vouched = vouched_for(self.source, index, self.synonyms)
        words, hits, chances = [], [], []
        for noun, names in self._named(caption, nouns, boxes):
            own = [row['box'] for row in boxes if row['name'] in names]
            is_there: bool | None = bool(own)
            if not own and vouched.intersection(names):
                is_there = None
            told = {'word': noun.word, 'is_there': is_there, 'hit': None}
            if own:
                inside = patches_inside(own, picture.size, grid)
                # The rest is smaller than a patch: no patch could hit it.
                if inside.any():
                    told['hit'] = hit(noun.weights, inside)
                    hits.append(told['hit'])
                    chances.append(float(inside.mean()))
            words.append({**told, 'score': noun.peak + noun.fit})
        return {
            'key': self.source.key(index),
            'caption': caption,
            'nouns': len(hits),
            'pointing': share(sum(hits), len(hits)),
            'chance': share(sum(chances), len(chances)),
            'grounding_score': 100 * grounding_score(nouns),
            'words': words,
        }

    def _named(
        self, caption: str, nouns: list[GroundedWord], boxes: list[dict]
    ) -> list[tuple[GroundedWord, list[str]]]:
        """The nouns that name a class, and the classes."""
        if self.synonyms is None:
            # All classes, not those alone that the picture shows: of these,
            # 'a red circle' would name the blue one.
            known = sorted({*self.source.classes, *(b['name'] for b in boxes)})
            meant = [named_objects(list(n.until), known) for n in nouns]
            return [
                (noun, found.get(len(noun.until) - 1, []))
                for noun, found in zip(nouns, meant, strict=True)
            ]
        # A noun names what ends with it: 'dog' of 'hot dog' names no dog.
        ends = {
            one.start + len(one.words.split()): one.name
            for one in self.synonyms.find(caption)
        }
        named = []
        for noun in nouns:
            name = ends.get(len(caption_tokens(' '.join(noun.until))))
            if name is not None:
                named.append((noun, [name]))
        return named


def patches_inside(
    boxes: Sequence[Sequence[float]],
    size: tuple[int, int],
    grid: tuple[int, int],
) -> np.ndarray:
    """(P,) bool: whether each patch's centre is in any of the boxes.

    Args:
        boxes: x1, y1, x2, y2 in pixels.
        size: Width and height of the picture.
        grid: Rows and columns of the patches.
    """
    rows, columns = grid
    down = (np.arange(rows) + 0.5)[:, None] * size[1] / rows
    across = (np.arange(columns) + 0.5)[None] * size[0] / columns
    inside = np.zeros(grid, bool)
    for left, top, right, bottom in boxes:
        inside |= (
            (across >= left)
            & (across < right)
            & (down >= top)
            & (down < bottom)
        )
    return inside.reshape(-1)


def area_under_curve(
    high: Sequence[float], low: Sequence[float]
) -> float | None:
    """How often one of the first exceeds one of the second, in percent.

    Args:
        high: Scores that should be higher; ties count half.
        low: Scores that should be lower.

    Returns:
        None where either is empty.
    """
    if not high or not low:
        return None
    ours, theirs = np.array(high)[:, None], np.array(low)[None]
    return 100 * float((ours > theirs).mean() + (ours == theirs).mean() / 2)
