"""A trained detector, of classes or by words, as whoever uses it sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from sparc_vlm.detection.words.vocabulary import listed_words
from sparc_vlm.errors import UsageError
from sparc_vlm.preprocess import Picture, open_rgb

SCOPE = 'mmdet'
"""Where names without a scope are looked up, in a config of MMDetection."""
READ_PICTURE = dict(type='LoadImageFromNDArray')


@dataclass(frozen=True)
class Detections:
    """What was found on a picture, best first.

    Attributes:
        boxes: (N, 4) float, x1, y1, x2, y2 in pixels of the picture.
        scores: (N,) float between 0 and 1.
        labels: (N,) int64, places in the words or classes.
        masks: Run lengths of N masks as pycocotools packs them, 'counts' as
            text; None where the detector finds none.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        """How many were found."""
        return len(self.scores)

    def above(self, threshold: float) -> Detections:
        """Those with at least that score."""
        return self._chosen(self.scores >= threshold)

    def best(self, limit: int) -> Detections:
        """At most so many, the highest scores first; equals as they were."""
        order = self.scores.argsort(descending=True, stable=True)
        return self._chosen(order[:limit])

    def relabelled(self, places: Sequence[int]) -> Detections:
        """The same with other labels; those of which there are none go.

        Args:
            places: The new label of each old one, -1 where there is none.
        """
        labels = torch.tensor(places)[self.labels]
        there = Detections(self.boxes, self.scores, labels, self.masks)
        return there._chosen(labels >= 0)

    def _chosen(self, which: Tensor) -> Detections:
        masks = self.masks
        if masks is not None:
            places = torch.arange(len(self))[which].tolist()
            masks = [masks[place] for place in places]
        return Detections(
            self.boxes[which], self.scores[which], self.labels[which], masks
        )


class LoadedDetector:
    """Finds things on pictures; what `sparc_vlm.detection.load` returns.

    Args:
        model: A detector of MMDetection in eval mode.
        pipeline: Configs of the transforms that a picture goes through once
            it is read.
        classes: Names of what it was trained to find; of a detector by words
            those that it looks for if none are named.

    Attributes:
        takes_words: Whether it looks for whatever is named.
    """

    def __init__(
        self,
        model: nn.Module,
        pipeline: Sequence[dict[str, Any]],
        classes: Sequence[str],
    ) -> None:
        self.model = model
        self.classes = tuple(classes)
        self.takes_words = hasattr(model, 'words')
        with DefaultScope.overwrite_default_scope(SCOPE):
            self._prepare = Compose([READ_PICTURE, *pipeline])

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights, which tell where it computes."""
        return self.model.parameters()

    def names(
        self, words: Sequence[str] | str | None = None
    ) -> tuple[str, ...]:
        """What the labels of its detections are places in.

        Args:
            words: As `detect` takes them.

        Raises:
            ValueError: Words for a detector of classes, or none to look for.
        """
        if words is not None and not self.takes_words:
            some = ', '.join(self.classes[:3])
            more = ' ...' if len(self.classes) > 3 else ''
            raise UsageError(
                f'this detector finds its own classes only ({some}{more}): '
                'leave the words out, or take a detector by words'
            )
        if isinstance(words, str):
            words = listed_words(words)
        names = self.classes if words is None else tuple(words)
        if not names:
            raise UsageError(
                'a detector by words must be told what to look for: name at '
                "least one word, as --words 'red ball,dog' of tools/detect.py "
                'does'
            )
        return names

    @torch.no_grad()
    def detect(
        self,
        images: Iterable[Picture],
        words: Sequence[str] | str | None = None,
        limit: int = 100,
    ) -> list[Detections]:
        """What is on some pictures, which go through the model as one batch.

        Args:
            images: PIL pictures or paths.
            words: What to look for, for a detector by words; None looks for
                its `classes`.
            limit: Keeps so many of a picture at most, the best. The `test_cfg`
                of a detector of classes may keep fewer.

        Raises:
            ValueError: Words for a detector of classes, or none to look for.
        """
        names = self.names(words)
        batch = [self._packed(image) for image in images]
        if not batch:
            return []
        samples = [packed['data_samples'] for packed in batch]
        if self.takes_words:
            self.model.limit = limit
            for sample in samples:
                sample.set_metainfo({'words': names})
        inputs = [packed['inputs'] for packed in batch]
        with DefaultScope.overwrite_default_scope(SCOPE):
            found = self.model.test_step(
                {'inputs': inputs, 'data_samples': samples}
            )
        return [_detections(sample).best(limit) for sample in found]

    def _packed(self, image: Picture) -> dict[str, Any]:
        """A picture as the model's preprocessor takes it."""
        # MMDetection reads blue first, and its models turn it around.
        pixels = np.array(open_rgb(image))[..., ::-1]
        packed = self._prepare({'img': pixels, 'img_id': 0})
        # What boxes are cut to; a pipeline need not hand it on.
        packed['data_samples'].set_metainfo({'ori_shape': pixels.shape[:2]})
        return packed


def _detections(sample: DetDataSample) -> Detections:
    """What MMDetection returns for a picture, on the CPU.

    Boxes are cut to the picture: MMDetection cuts them to what the model was
    given, which may be padded.
    """
    found = sample.pred_instances.cpu()
    height, width = sample.ori_shape[:2]
    sides = torch.tensor([width, height, width, height])
    boxes = found.bboxes.float().clamp(min=0).minimum(sides)
    masks = None
    if 'masks' in found:
        masks = [_packed_mask(np.asarray(mask)) for mask in found.masks]
    return Detections(boxes, found.scores.float(), found.labels.long(), masks)


def _packed_mask(mask: np.ndarray) -> dict[str, Any]:
    """An (H, W) mask as run lengths."""
    packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {'size': packed['size'], 'counts': packed['counts'].decode('ascii')}
