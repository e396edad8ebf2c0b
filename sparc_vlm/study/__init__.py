"""Comparisons of objectives: trained alike, measured alike, put on a page."""

from sparc_vlm.devices import best_device
from sparc_vlm.study.arm import Arm, set_aside, shortened
from sparc_vlm.study.checks import check_units
from sparc_vlm.study.figures import open_pictures
from sparc_vlm.study.flags import split_flags, task_config
from sparc_vlm.study.measure import measure, read_sheet, write_sheet
from sparc_vlm.study.models import open_model
from sparc_vlm.study.plan import Study, build_tasks, choose, tasks_by_arm
from sparc_vlm.study.progress import study_progress
from sparc_vlm.study.report import write_report
from sparc_vlm.study.run import Failure, Runner
from sparc_vlm.study.study_file import read_study

__all__ = [
    'Arm',
    'Failure',
    'Runner',
    'Study',
    'best_device',
    'build_tasks',
    'check_units',
    'choose',
    'measure',
    'open_model',
    'open_pictures',
    'read_sheet',
    'read_study',
    'set_aside',
    'shortened',
    'split_flags',
    'study_progress',
    'task_config',
    'tasks_by_arm',
    'write_report',
    'write_sheet',
]
