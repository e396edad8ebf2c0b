"""Tasks that measure detectors, one file each."""

from sparc_vlm.detection.tasks.box_ap import BoxAP
from sparc_vlm.detection.tasks.word_ap import WordAP

__all__ = ['BoxAP', 'WordAP']
