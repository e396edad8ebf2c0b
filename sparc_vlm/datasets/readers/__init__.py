"""Sources of pairs in the layouts that data sets come in."""

from sparc_vlm.datasets.readers.coco import CocoCaptions
from sparc_vlm.datasets.readers.karpathy import KarpathyCaptions
from sparc_vlm.datasets.readers.labelled import ClassFolders, LabelLists
from sparc_vlm.datasets.readers.tables import CsvCaptions

__all__ = [
    'ClassFolders',
    'CocoCaptions',
    'CsvCaptions',
    'KarpathyCaptions',
    'LabelLists',
]
