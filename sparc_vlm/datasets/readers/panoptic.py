"""COCO's panoptic annotations: things and stuff, a class for each pixel."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sparc_vlm.datasets.readers.files import picture_files, read_json
from sparc_vlm.datasets.readers.listed import Images
from sparc_vlm.datasets.readers.segmented import VOID, SegmentedPictures
from sparc_vlm.datasets.report import new_report, note
from sparc_vlm.datasets.store import ImageStore
from sparc_vlm.datasets.text import PackedStrings
from sparc_vlm.errors import MissingFileError, UsageError
from sparc_vlm.registry import DATASETS

# A segment's number is R + 256 G + 65536 B; nobody has labelled number 0.
PLACES = np.array([1, 1 << 8, 1 << 16])
UNLABELLED = 0


@DATASETS.register_module()
class CocoPanoptic(SegmentedPictures):
    """Pictures of a COCO panoptic file, with its 80 things and 53 stuffs.

    Stuff is foreground, as things are. Crowds and unlabelled pixels are
    void.

    Args:
        annotations: `panoptic_*.json`.
        images: Folder, zip or tar of the pictures.
        maps: Folder, zip or tar of the PNGs; by default the folder or zip
            beside the file that is called as it is.

    Attributes:
        classes: Names in plain words, see `plain_words`.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: The file is not in COCO's form.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: Images,
        maps: Images | None = None,
    ) -> None:
        reading = new_report()
        needs = 'images annotations categories'
        content = read_json(annotations, needs, reading)
        self._maps = ImageStore(maps or _find_maps(Path(annotations)))
        files = picture_files(annotations, content, reading)
        kinds = content['categories']
        numbers = {row['id']: n for n, row in enumerate(kinds, 1)}
        ids, kept, ends, maps_of = array('q'), array('i'), [0], []

        def pictures() -> Iterator[str]:
            for row in content['annotations']:
                try:
                    name, own = files[row['image_id']], row['file_name']
                    parts = [
                        (part['id'], VOID)
                        if part.get('iscrowd')
                        else (part['id'], numbers[part['category_id']])
                        for part in row['segments_info']
                    ]
                # Whatever a damaged row is.
                except (KeyError, TypeError, AttributeError) as error:
                    where = f'{annotations}: {error!r}'
                    note(reading, 'skipped_rows', where)
                    continue
                ids.extend(number for number, _ in parts)
                kept.extend(kind for _, kind in parts)
                ends.append(len(ids))
                maps_of.append(own)
                yield name

        classes = [plain_words(row['name']) for row in kinds]
        super().__init__(images, pictures(), classes, reading)
        self._map_names = PackedStrings(maps_of)
        # As lists of dicts they would take gigabytes.
        self._ids, self._kinds = np.array(ids), np.array(kept)
        self._ends = np.array(ends)

    def labels(self, index: int) -> np.ndarray:
        """(H, W) classes or `VOID`.

        Args:
            index: Which picture.

        Raises:
            BrokenImage: The map is not there, or cannot be read.
            ValueError: It has a segment that the file does not have.
        """
        name = self._map_names[index]
        pixels = np.asarray(self._maps.image(name))
        met, inverse = np.unique(pixels @ PLACES, return_inverse=True)
        start, end = self._ends[index : index + 2]
        ids, kinds = self._ids[start:end], self._kinds[start:end]
        known = {UNLABELLED: VOID, **dict(zip(ids, kinds, strict=True))}
        strange = [number for number in met if number not in known]
        if strange:
            raise UsageError(f'{name}: nothing is said of {strange[0]}')
        table = np.array([known[number] for number in met], np.int64)
        return table[inverse].reshape(pixels.shape[:2])


def plain_words(name: str) -> str:
    """A class of the panoptic task as people would say it.

    Args:
        name: As in the file: 'wall-brick', 'sky-other-merged', 'door-stuff'.

    Returns:
        'brick wall', 'sky', 'door'.
    """
    name = name.replace('playingfield', 'playing field')
    what, *rest = name.split('-')
    kind = [word for word in rest if word not in ('other', 'merged', 'stuff')]
    # A window blind is no window; brick, stone, tile and wood are materials.
    words = [what, *kind] if what == 'window' else [*kind, what]
    return ' '.join(words)


def _find_maps(annotations: Path) -> Path:
    """The maps beside a file."""
    folder = annotations.with_suffix('')
    places = [folder, annotations.with_suffix('.zip')]
    found = next(filter(Path.exists, places), None)
    if found is None:
        raise MissingFileError(
            f'no maps at {folder}: looked for that folder and for '
            f'{places[1].name}; or say maps=PATH'
        )
    return found
