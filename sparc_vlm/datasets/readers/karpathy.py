"""Karpathy's split files: Flickr8k, Flickr30k and COCO."""

from __future__ import annotations

from pathlib import Path

from sparc_vlm.datasets.readers.files import read_json
from sparc_vlm.datasets.readers.listed import Images, ListedPairs, as_caption
from sparc_vlm.datasets.report import new_report, note
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import DATASETS

SPLITS = {'train': ('train', 'restval'), 'val': ('val',), 'test': ('test',)}


@DATASETS.register_module()
class KarpathyCaptions(ListedPairs):
    """Pictures and captions of one split of a `dataset_*.json`.

    Args:
        annotations: The file.
        images: Folder, zip or tar of the pictures.
        split: 'train' (COCO's 'restval' is part of it, as is the custom),
            'val' or 'test'.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The file is not in Karpathy's form, or the split is
            empty.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: Images,
        split: str = 'train',
    ) -> None:
        reading = new_report()
        content = read_json(annotations, 'images', reading)
        wanted = SPLITS.get(split, (split,))
        entries = []
        for number, image in enumerate(content['images']):
            where = f'{annotations}, image {number}'
            if not isinstance(image.get('filename'), str):
                note(reading, 'skipped_rows', f'{where}: no filename')
            elif image.get('split') in wanted:
                name = '/'.join(
                    part
                    for part in (image.get('filepath'), image['filename'])
                    if part
                )
                texts = [
                    as_caption(sentence.get('raw'), where, reading)
                    for sentence in image.get('sentences', [])
                ]
                entries.append((name, texts))
        if not entries:
            there = {str(image.get('split')) for image in content['images']}
            raise UsageError(
                f'{annotations} has no split {split!r}, only '
                f'{", ".join(sorted(there))}'
            )
        super().__init__(images, entries, reading)
