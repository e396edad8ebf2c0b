"""Zero-shot tasks, run on anything that encodes images and text."""

from sparc_vlm.evaluation.task import Task, TaskResult, progress_bar
from sparc_vlm.evaluation.tasks import (
    POPE,
    Captioning,
    Classification,
    Foils,
    Grounding,
    HumanJudgement,
    KnnProbe,
    KPrecision,
    LinearProbe,
    PatchProbe,
    Pointing,
    Retrieval,
    Segmentation,
)
from sparc_vlm.evaluation.word_order import WordOrder

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
    'Task',
    'TaskResult',
    'WordOrder',
    'progress_bar',
]
