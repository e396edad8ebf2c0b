"""The zero-shot tasks, one file each."""

from sparc_vlm.evaluation.tasks.pointing import Pointing
from sparc_vlm.evaluation.tasks.retrieval import Retrieval
from sparc_vlm.evaluation.tasks.segmentation import Segmentation

__all__ = ['Pointing', 'Retrieval', 'Segmentation']
