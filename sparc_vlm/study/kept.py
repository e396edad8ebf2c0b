"""What a study keeps on disk, and what of it is there already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from sparc_vlm.files import write_json, write_text
from sparc_vlm.study.fingerprints import fingerprint
from sparc_vlm.study.measure import Sheet, evaluation_settings, read_sheet
from sparc_vlm.study.models import identity
from sparc_vlm.study.plan import Study, StudyArm

SHEET = '.json.gz'
WEIGHTS = 'weights.sha256'


def sheet_path(run: Path, task: str) -> Path:
    """Where what a task found is kept."""
    return run / 'results' / f'{task}{SHEET}'


def weights_of(arm: StudyArm, run: Path) -> str:
    """What tells this model from any other.

    A model that was measured may be deleted: what `note_weights` wrote
    stands for it then.
    """
    noted = run / WEIGHTS
    before = noted.read_text().strip() if noted.is_file() else ''
    if arm.checkpoint is not None:
        own = identity(arm.checkpoint)
        # The name alone where nothing is there, or where it is no path.
        is_gone = own == arm.checkpoint and before.startswith(f'{own} ')
        return before if is_gone else own
    if before and not (run / 'model').is_dir():
        return before
    return fingerprint(run / 'model')


def note_weights(run: Path, weights: str) -> None:
    """Keeps what tells a model from others beside what it was measured at.

    Args:
        run: Of the model.
        weights: What `weights_of` returned.
    """
    write_text(run / WEIGHTS, f'{weights}\n')


def drawing_path(work_dir: Path, weights: Sequence[str], key: str) -> Path:
    """Where a drawing of models is kept, which stays when they are deleted.

    Args:
        work_dir: Of the study.
        weights: Of the models that it shows, from `weights_of`.
        key: Of the picture.
    """
    name = hashlib.sha256('\n'.join([*weights, key]).encode()).hexdigest()
    return work_dir / 'drawn' / f'{name[:16]}.png'


def finished(
    study: Study, arm: StudyArm, seed: int, work_dir: Path, root: Path
) -> dict[str, Sheet]:
    """The sheets that are there for an arm as the study wants it.

    Args:
        study: Whose tasks.
        arm: One of its arms.
        seed: At which seed.
        work_dir: Of the study.
        root: Holds `tools/train.py`.

    Returns:
        By the task's name, in the study's order; empty where the arm is not
        trained so.
    """
    run = arm.place(seed, work_dir)
    is_trained = arm.checkpoint is None
    if is_trained and arm.run(seed, work_dir, root).took() is None:
        return {}
    weights = weights_of(arm, run)
    paths = sorted((run / 'results').glob(f'*{SHEET}'))
    there = [sheet for path in paths if (sheet := read_sheet(path))]
    tasks = study.tasks_of(arm)
    wanted = (evaluation_settings(task, weights) for task in tasks)
    return {
        sheet['name']: sheet
        for settings in wanted
        for sheet in there
        if sheet.get('settings') == settings
    }


def note_peak(folder: Path, peak: int | None) -> None:
    """Keeps the most memory that a training took, over all its runs."""
    if peak is not None and folder.is_dir():
        most = max(peak, peak_of(folder) or 0)
        write_json(folder / 'memory.json', {'peak_bytes': most})


def peak_of(folder: Path) -> int | None:
    """The most memory that a training took, None if nobody noted it."""
    try:
        text = (folder / 'memory.json').read_text()
    except OSError:
        return None
    return json.loads(text)['peak_bytes']
