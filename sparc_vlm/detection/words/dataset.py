"""WordBoxes: pictures with boxes whose classes are words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import BaseDetDataset
from mmdet.datasets.transforms import LoadImageFromNDArray
from mmengine.logging import print_log
from PIL import Image

from sparc_vlm.datasets import BrokenImage, ImageStore
from sparc_vlm.datasets.report import Report, new_report, note
from sparc_vlm.detection.boxes import GREY
from sparc_vlm.detection.words.annotations import PictureBoxes, read_coco
from sparc_vlm.detection.words.visual_genome import read_visual_genome
from sparc_vlm.detection.words.vocabulary import (
    Vocabulary,
    as_words,
    left_out,
)
from sparc_vlm.errors import RunError, UsageError
from sparc_vlm.registry import DATASETS

TRIES = 100
"""Broken pictures met in a row before the data are called unreadable."""


@DATASETS.register_module()
class WordBoxes(BaseDetDataset):
    """Pictures with boxes of COCO's layout and its kin, or Visual Genome's.

    What a pipeline is given, besides what MMDetection's data sets give: the
    picture itself (`img`, BGR); `words`, those that have boxes, of which
    `bbox_label` is a place; `absent`, words that somebody has looked for in
    vain; `incomplete`, words of which the picture shows more than there are
    boxes; `vocabularies`, which `SampleWords` draws from; and `report`. A
    LoadImageFromFile in it becomes a LoadImageFromNDArray, for pictures may
    lie in archives.

    A picture that cannot be read is counted and replaced by another; in test
    mode by a grey one. In test mode `words` are those of all classes.

    Args:
        annotations: A file in COCO's layout (COCO, LVIS, Objects365), or
            Visual Genome's objects.json.
        images: Folder, zip or tar of the pictures, or several.
        image_data: Visual Genome's image_data.json, which says that
            `annotations` are its objects.
        leave_out: Names of classes, or of supercategories, that are taken
            out: their boxes go, their pictures stay, and they are never
            asked for. Or `dict(frequency='r')` for a group of classes; with
            `annotations=...` for those of another file.
        **kwargs: Further arguments of MMDetection's `BaseDetDataset`.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: Classes are chosen, a file is in no known form, or
            `leave_out` names what is not in it.

    Attributes:
        reading: What was counted when the annotations were read.
        vocabulary: The words that have boxes or may be asked for.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: str | Path | list[str],
        image_data: str | Path | None = None,
        leave_out: list[str] | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if (kwargs.get('metainfo') or {}).get('classes'):
            raise UsageError(
                'WordBoxes takes all classes of its file: leave '
                'metainfo.classes out, and name what is not for training in '
                'leave_out'
            )
        self.reading: Report = new_report()
        self.images = images
        self.image_data = image_data
        self.leave_out = leave_out
        self._words: list[str] = []
        super().__init__(ann_file=str(annotations), **kwargs)
        self.pipeline.transforms = [
            LoadImageFromNDArray(to_float32=step.to_float32)
            if type(step) is LoadImageFromFile
            else step
            for step in self.pipeline.transforms
        ]

    def load_data_list(self) -> list[dict[str, Any]]:
        """All pictures, with what is left of their boxes."""
        self.store = ImageStore(self.images)
        if self.image_data is None:
            categories, pictures = read_coco(self.ann_file, self.reading)
        else:
            categories, pictures = read_visual_genome(
                self.ann_file, self.image_data, self.reading
            )
        out = left_out(self.leave_out, categories, self.ann_file)
        names = [row['name'] for row in categories]
        self._words = as_words(names)
        if self.test_mode:
            self._metainfo.setdefault('classes', tuple(names))
        kept = {n for n, word in enumerate(self._words) if word not in out}
        counts: Counter[str] = Counter(
            self._words[label]
            for picture in pictures
            for label in picture.labels
            if label in kept
        )
        words = list(dict.fromkeys(self._words[n] for n in sorted(kept)))
        self.vocabulary = Vocabulary(words, [counts[word] for word in words])
        self._tell(len(pictures), sum(counts.values()), out)
        return [_row(picture, kept) for picture in pictures]

    def prepare_data(self, idx: int) -> Any:
        """A picture through the pipeline.

        Args:
            idx: Which picture; another one takes its place, at random, where
                it cannot be read.

        Raises:
            RuntimeError: A hundred pictures in a row cannot be read.
        """
        report = new_report(pairs=1)
        for _ in range(TRIES):
            info = self.get_data_info(idx)
            try:
                picture = self.store.image(info['img_path'])
            except BrokenImage as error:
                note(report, 'broken_images', str(error))
                if not self.test_mode:
                    idx = self._rand_another()
                    continue
                size = max(info['width'], 1), max(info['height'], 1)
                picture = Image.new('RGB', size, (GREY,) * 3)
            return self.pipeline(self._results(info, picture, report))
        raise RunError(
            f'{TRIES} pictures in a row could not be used, for example '
            f'{report["examples"][0]}; check where the images are looked for'
        )

    def _results(
        self, info: dict[str, Any], picture: Image.Image, report: Report
    ) -> dict[str, Any]:
        instances = info.pop('instances')
        labels = [instance['bbox_label'] for instance in instances]
        words = tuple(self._words)
        if not self.test_mode:
            words = tuple(dict.fromkeys(words[label] for label in labels))
            labels = [words.index(self._words[label]) for label in labels]
        for instance, label in zip(instances, labels, strict=True):
            instance['bbox_label'] = label
        for key in ('absent', 'incomplete'):
            info[key] = tuple(self._words[label] for label in info[key])
        return info | dict(
            img=np.ascontiguousarray(np.asarray(picture)[..., ::-1]),
            instances=instances,
            words=words,
            vocabularies=(self.vocabulary,),
            report=report,
        )

    def _tell(self, pictures: int, boxes: int, out: set[str]) -> None:
        said = [f'{pictures} pictures', f'{boxes} boxes']
        said.append(f'{len(self.vocabulary)} words')
        if out:
            said.append(f'{len(out)} left out')
        if self.reading['skipped_rows']:
            rows, example = self.reading['skipped_rows'], ''
            if self.reading['examples']:
                example = f' (first: {self.reading["examples"][0]})'
            said.append(f'{rows} rows that cannot be used{example}')
        print_log(f'{self.ann_file}: {", ".join(said)}', 'current')


def _row(picture: PictureBoxes, kept: set[int]) -> dict[str, Any]:
    """A picture as MMDetection's data sets list it, without other classes."""
    return dict(
        img_path=picture.file,
        img_id=picture.id,
        height=picture.height,
        width=picture.width,
        instances=[
            dict(bbox=list(box), bbox_label=label, ignore_flag=0)
            for box, label in zip(picture.boxes, picture.labels, strict=True)
            if label in kept
        ],
        absent=sorted(picture.absent & kept),
        incomplete=sorted(picture.incomplete & kept),
    )
