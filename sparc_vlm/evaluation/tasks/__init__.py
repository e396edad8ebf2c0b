"""The zero-shot tasks, one file each."""

from sparc_vlm.evaluation.tasks.captioning import Captioning
from sparc_vlm.evaluation.tasks.classification import Classification
from sparc_vlm.evaluation.tasks.foils import Foils
from sparc_vlm.evaluation.tasks.grounding import Grounding
from sparc_vlm.evaluation.tasks.human_judgement import HumanJudgement
from sparc_vlm.evaluation.tasks.k_precision import KPrecision
from sparc_vlm.evaluation.tasks.patch_probe import PatchProbe
from sparc_vlm.evaluation.tasks.pointing import Pointing
from sparc_vlm.evaluation.tasks.pope import POPE
from sparc_vlm.evaluation.tasks.probes import KnnProbe, LinearProbe
from sparc_vlm.evaluation.tasks.retrieval import Retrieval
from sparc_vlm.evaluation.tasks.segmentation import Segmentation

__all__ = [
    'POPE',
    'Captioning',
    'Classification',
    'Foils',
    'Grounding',
    'HumanJudgement',
    'KPrecision',
    'KnnProbe',
    'LinearProbe',
    'PatchProbe',
    'Pointing',
    'Retrieval',
    'Segmentation',
]
