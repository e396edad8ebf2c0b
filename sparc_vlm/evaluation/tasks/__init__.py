"""The zero-shot tasks, one file each."""

from sparc_vlm.evaluation.tasks.classification import Classification
from sparc_vlm.evaluation.tasks.patch_probe import PatchProbe
from sparc_vlm.evaluation.tasks.pointing import Pointing
from sparc_vlm.evaluation.tasks.probes import KnnProbe, LinearProbe
from sparc_vlm.evaluation.tasks.retrieval import Retrieval
from sparc_vlm.evaluation.tasks.segmentation import Segmentation

__all__ = [
    'Classification',
    'KnnProbe',
    'LinearProbe',
    'PatchProbe',
    'Pointing',
    'Retrieval',
    'Segmentation',
]
