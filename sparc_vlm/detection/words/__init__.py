"""A detector whose classes are words, after OWL-ViT, and its data."""

from sparc_vlm.detection.words.costs import WordFocalCost
from sparc_vlm.detection.words.dataset import WordBoxes
from sparc_vlm.detection.words.heads import BoxHead, WordHead
from sparc_vlm.detection.words.loss import WordLoss
from sparc_vlm.detection.words.model import WordDetector
from sparc_vlm.detection.words.mosaic import GridMosaic
from sparc_vlm.detection.words.report_hook import PictureReportHook
from sparc_vlm.detection.words.sample_words import SampleWords

__all__ = [
    'BoxHead',
    'GridMosaic',
    'PictureReportHook',
    'SampleWords',
    'WordBoxes',
    'WordDetector',
    'WordFocalCost',
    'WordHead',
    'WordLoss',
]
