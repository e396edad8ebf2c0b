"""Detectors on our encoders: what MMDetection does not have.

Importing the package registers everything under the scope `sparc_vlm`, so
that a config of MMDetection needs `custom_imports` of it and no more.
"""

import sparc_vlm  # noqa: F401 (stand-ins and registries before mmdet)
from sparc_vlm.detection.boxes import CocoBoxes
from sparc_vlm.detection.detector import Detections, LoadedDetector
from sparc_vlm.detection.export import DetectorExportHook
from sparc_vlm.detection.folder import load, save
from sparc_vlm.detection.loop import BoxLoop
from sparc_vlm.detection.outline_metric import OutlineMetric
from sparc_vlm.detection.simple_fpn import SimpleFeaturePyramid
from sparc_vlm.detection.tasks import BoxAP, WordAP
from sparc_vlm.detection.words import (
    BoxHead,
    GridMosaic,
    PictureReportHook,
    SampleWords,
    WordBoxes,
    WordDetector,
    WordHead,
    WordLoss,
)

__all__ = [
    'BoxAP',
    'BoxHead',
    'BoxLoop',
    'CocoBoxes',
    'Detections',
    'DetectorExportHook',
    'GridMosaic',
    'LoadedDetector',
    'OutlineMetric',
    'PictureReportHook',
    'SampleWords',
    'SimpleFeaturePyramid',
    'WordAP',
    'WordBoxes',
    'WordDetector',
    'WordHead',
    'WordLoss',
    'load',
    'save',
]
