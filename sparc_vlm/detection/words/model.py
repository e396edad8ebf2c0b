"""WordDetector: finds what it is asked for by words.

OWL-ViT (https://arxiv.org/abs/2205.06230) on a pretrained image and text
encoder: every patch predicts a box and an embedding, and the embedding is
compared with those of the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample, SampleList
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh
from torch import Tensor, nn
from torch.nn import functional as F

from sparc_vlm.detection.words.grid import patch_grid
from sparc_vlm.detection.words.matching import PatchPredictions
from sparc_vlm.detection.words.objects import Targets, merge_boxes
from sparc_vlm.detection.words.predictions import best_boxes
from sparc_vlm.detection.words.queries import (
    KeptWords,
    WordQueries,
    encode_texts,
    numbered,
    queries_of,
    words_of,
)
from sparc_vlm.detection.words.start import build_encoders, load_start
from sparc_vlm.models import ImageTextPretrainer
from sparc_vlm.models.modes import evaluating
from sparc_vlm.registry import MODELS


@MODELS.register_module()
class WordDetector(BaseDetector):
    """Detector whose classes are words.

    Each data sample carries `words`, its own queries, or `text`, a prompt of
    MMDetection's such as 'cat . dog' or a list of names;
    `gt_instances.labels` and `pred_instances.labels` are places among them.
    A sample may also carry `incomplete`, those words of which only some
    boxes are known. Boxes that coincide are of one object, see `merge_boxes`.

    Args:
        encoders: Config of an `ImageTextPretrainer`. Its objective says
            whether there is h_v, and is not used.
        loss: Config of the loss.
        box_head: Config of what predicts boxes, by default a `BoxHead`; it is
            built with the `width` of the patch tokens.
        word_head: Config of what compares patches with words, by default a
            `WordHead`; it is built with `width`, `prior` and `scale`.
        words: Queries of samples that carry none, at prediction.
        templates: Texts around a word at prediction, such as
            'a photo of a {}'; embeddings are averaged over them.
        prior: Probability of a word whose cosine is 0 at the start of
            training.
        scale: Of the logits at the start of training.
        limit: Best boxes kept of a picture, over all its words.
        nms: Overlap (IoU) above which the lesser of two boxes of one word is
            dropped; None keeps all, as OWL-ViT does, whose matching gives
            each object to one patch.
        data_preprocessor: Config; by default MMDetection's, which takes
            pictures as MMDetection loads them (BGR), normalises them as the
            encoders want them and pads the smaller ones.
        init_cfg: `dict(type='Pretrained', checkpoint=...)`: a pretraining
            run's model folder or file of weights for the encoders, and the
            tokenizer that lies there unless `encoders` names one. Without a
            checkpoint the encoders are random.

    Raises:
        ValueError: There is no tokenizer.
    """

    def __init__(
        self,
        encoders: dict[str, Any],
        loss: dict[str, Any] | None = None,
        box_head: dict[str, Any] | None = None,
        word_head: dict[str, Any] | None = None,
        words: Sequence[str] | None = None,
        templates: Sequence[str] = ('{}',),
        prior: float = 0.001,
        scale: float = 10.0,
        limit: int = 300,
        nms: float | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        checkpoint = (init_cfg or {}).get('checkpoint')
        built = build_encoders(encoders, checkpoint)
        super().__init__(data_preprocessor or _preprocessor(built))
        self.encoders = built
        width = built.vision.embed_dims
        start = dict(prior=prior, scale=scale)
        self.box_head = _part('BoxHead', box_head, width=width)
        self.word_head = _part('WordHead', word_head, width=width, **start)
        self.word_loss = _part('WordLoss', loss)
        self.words = None if words is None else tuple(words)
        self.limit = limit
        self.nms = nms
        self.patch_side = _patch_side(built)
        self._checkpoint = checkpoint
        self._kept = KeptWords(templates)

    def init_weights(self) -> None:
        """Random heads; encoders from the checkpoint, all keys accounted."""
        super().init_weights()
        if self._checkpoint is not None:
            load_start(self.encoders, self._checkpoint)

    def train(self, mode: bool = True) -> WordDetector:
        """Sets the mode; embeddings of words that were kept are dropped."""
        self._kept.forget()
        return super().train(mode)

    def extract_feat(
        self, batch_inputs: Tensor
    ) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Patch tokens, their embeddings among texts, rows and columns.

        Args:
            batch_inputs: (B, 3, H, W), padded here to whole patches.

        Returns:
            (B, P, C) values, (B, P, D) `dense` as the pretrainer has it
            (h_v, then g_v), and the grid.
        """
        missing = [-size % self.patch_side for size in batch_inputs.shape[2:]]
        padded = F.pad(batch_inputs, (0, missing[1], 0, missing[0]))
        features = self.encoders.vision.forward_patches(padded)
        values = features.values
        dense = self.encoders.vision_adapter(self.encoders.vision_head(values))
        return values, dense, features.grid

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Losses of a batch, see `WordLoss`.

        Args:
            batch_inputs: (B, 3, H, W) normalised pictures.
            batch_data_samples: With `words` or `text`, and `gt_instances`.
        """
        self._kept.forget()
        lists = words_of(batch_data_samples, self.words)
        table = numbered(lists)
        values = encode_texts(self.encoders, list(table))
        queries = queries_of(lists, table, values)
        predictions = self._predict_patches(
            batch_inputs, batch_data_samples, queries
        )
        incomplete = torch.zeros_like(queries.mask)
        for row, sample in enumerate(batch_data_samples):
            for word in sample.get('incomplete', ()):
                if word in lists[row]:
                    incomplete[row, lists[row].index(word)] = True
        targets = [
            _targets(sample, extent, queries.mask.shape[1])
            for sample, extent in zip(
                batch_data_samples, predictions.extents, strict=True
            )
        ]
        return self.word_loss(predictions, targets, queries.mask, incomplete)

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> SampleList:
        """Adds `pred_instances` to each sample: the best `limit` boxes.

        Args:
            batch_inputs: (B, 3, H, W) normalised pictures.
            batch_data_samples: With `words` or `text`, unless the model has
                words.

        Returns:
            The samples; boxes are in pixels of the picture as it was before
            it was resized.
        """
        predictions = self._forward(batch_inputs, batch_data_samples)
        lists = words_of(batch_data_samples, self.words)
        found = [
            best_boxes(
                predictions.boxes[row] * predictions.extents[row],
                predictions.logits[row, :, : len(words)].sigmoid(),
                predictions.mask[row],
                words,
                self.limit,
                self.nms,
                sample.metainfo,
            )
            for row, (words, sample) in enumerate(
                zip(lists, batch_data_samples, strict=True)
            )
        ]
        return self.add_pred_to_datasample(batch_data_samples, found)

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: SampleList = None
    ) -> PatchPredictions:
        """What every patch predicts of words whose embeddings are kept."""
        if batch_data_samples is None:
            shape = tuple(batch_inputs.shape[2:])
            batch_data_samples = [
                DetDataSample(metainfo=dict(img_shape=shape))
                for _ in batch_inputs
            ]
        lists = words_of(batch_data_samples, self.words)
        table = numbered(lists)
        values = self._kept.encode(self.encoders, table)
        queries = queries_of(lists, table, values)
        return self._predict_patches(batch_inputs, batch_data_samples, queries)

    def _predict_patches(
        self, images: Tensor, samples: SampleList, queries: WordQueries
    ) -> PatchPredictions:
        values, dense, size = self.extract_feat(images)
        shapes = [sample.img_shape for sample in samples]
        grid = patch_grid(shapes, size, self.patch_side, values.device)
        return PatchPredictions(
            self.box_head(values, grid.box_bias()),
            self.word_head(values, dense, queries.values),
            grid.mask,
            grid.extents,
        )


def _part(kind: str, cfg: dict[str, Any] | None, **own: Any) -> nn.Module:
    """A head or the loss; the config goes before what is usual."""
    usual = dict(type=kind, _scope_='sparc_vlm', **own)
    return MODELS.build(usual | (cfg or {}))


def _targets(sample: DetDataSample, extent: Tensor, words: int) -> Targets:
    """A picture's objects, their boxes as shares of its extent in pixels."""
    instances = sample.gt_instances
    boxes = instances.bboxes.to(extent.device, torch.float32)
    labels = instances.labels.to(extent.device)
    boxes, own = merge_boxes(boxes.view(-1, 4), labels, words)
    return Targets(bbox_xyxy_to_cxcywh(boxes / extent), own)


def _patch_side(encoders: ImageTextPretrainer) -> int:
    """Side of a patch in pixels, whatever kind the image encoder is."""
    size = encoders.image_size
    picture = encoders.log_scale.new_zeros(1, 3, size, size)
    with torch.no_grad(), evaluating(encoders.vision):
        rows = encoders.vision.forward_patches(picture).grid[0]
    return -(-size // rows)


def _preprocessor(encoders: ImageTextPretrainer) -> dict[str, Any]:
    """MMDetection's, with the mean and deviation of the encoders' own."""
    own = encoders.data_preprocessor
    std = 1 / own.scale.flatten()
    mean = -own.shift.flatten() * std
    return dict(
        type='mmdet.DetDataPreprocessor',
        mean=mean.tolist(),
        std=std.tolist(),
        bgr_to_rgb=True,
    )
