"""All that a study found, as plain values: what `results.json` holds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sparc_vlm.engine.machine import machines_of
from sparc_vlm.study.arm import Arm
from sparc_vlm.study.kept import finished, peak_of
from sparc_vlm.study.measure import Sheet
from sparc_vlm.study.metrics import compared_metrics
from sparc_vlm.study.plan import Study, StudyArm
from sparc_vlm.study.run import Failure
from sparc_vlm.visualization.curves import Scalars, read_scalars

Sheets = dict[str, dict[int, dict[str, Sheet]]]
"""By arm, seed and task."""


def gather(study: Study, work_dir: Path, root: Path) -> Sheets:
    """All sheets that are there, arms in the study's order.

    Args:
        study: Whose arms and tasks.
        work_dir: Of the study.
        root: Holds `tools/train.py`.
    """
    sheets: Sheets = {}
    for arm in study.arms:
        own = {
            seed: found
            for seed in arm.seeds
            if (found := finished(study, arm, seed, work_dir, root))
        }
        if own:
            sheets[arm.name] = own
    return sheets


def scalars_of(
    study: Study, sheets: Sheets, work_dir: Path
) -> dict[str, Scalars]:
    """What each arm logged while training, at its first seed.

    Args:
        study: Whose arms.
        sheets: Arms that are done.
        work_dir: Of the study.
    """
    found = {}
    for arm in study.arms:
        if arm.name in sheets and arm.checkpoint is None:
            seed = next(iter(sheets[arm.name]))
            found[arm.name] = read_scalars(arm.place(seed, work_dir))
    return found


def summarise(
    study: Study,
    sheets: Sheets,
    work_dir: Path,
    root: Path,
    failures: list[Failure],
) -> dict[str, Any]:
    """Means, spreads, intervals, differences, cost and how it was made.

    Args:
        study: What was asked for.
        sheets: What was found.
        work_dir: Of the study.
        root: Holds `tools/train.py`.
        failures: What went wrong.
    """
    base = sheets.get(study.baseline)
    counts = _counts(sheets)
    arms = {}
    for arm in study.arms:
        own = sheets.get(arm.name)
        if own is not None:
            rival = base if arm.name != study.baseline else None
            arms[arm.name] = {
                **_made(arm, list(own), work_dir, root),
                'metrics': compared_metrics(own, rival),
                'evaluation': _cost_of_tasks(own),
            }
    return {
        'title': study.title,
        'baseline': study.baseline,
        'tasks': list(study.tasks),
        'types': _first(sheets, 'type'),
        'pictures': {task: max(own) for task, own in counts.items()},
        'uneven': [task for task, own in counts.items() if len(own) > 1],
        'chance': _first(sheets, 'chance'),
        'skipped': _skipped(sheets),
        'arms': arms,
        'missing': _missing(study, sheets),
        'failed': [str(failure) for failure in failures],
        'trained': _trained(study, sheets, work_dir),
        'measured': _measured(sheets),
    }


def _counts(sheets: Sheets) -> dict[str, set[int]]:
    """How many samples each task has: of all models, if all is well, one."""
    counts: dict[str, set[int]] = {}
    for seeds in sheets.values():
        for tasks in seeds.values():
            for task, sheet in tasks.items():
                counts.setdefault(task, set()).add(len(sheet['samples']))
    return counts


def _skipped(sheets: Sheets) -> list[dict[str, Any]]:
    """What tasks left out, and of whom: it may be of one model alone."""
    return _grouped(
        'models',
        (
            (f'{name}, seed {seed}', {'task': task, 'left_out': left_out})
            for name, seeds in sheets.items()
            for seed, tasks in seeds.items()
            for task, sheet in tasks.items()
            if (left_out := sheet['skipped'])
        ),
    )


def _trained(
    study: Study, sheets: Sheets, work_dir: Path
) -> list[dict[str, Any]]:
    """In which precision, on what and with which versions, and who that was.

    Nothing is known of models that were trained elsewhere.
    """
    return _grouped(
        'arms',
        (
            (f'{arm.name}, seed {seed}', note)
            for arm in study.arms
            for seed in sheets.get(arm.name, ())
            for note in machines_of(arm.place(seed, work_dir))
        ),
    )


def _measured(sheets: Sheets) -> list[dict[str, Any]]:
    """On what device and with which versions, and which arms that was."""
    return _grouped(
        'arms',
        (
            (name, {key: sheet[key] for key in ('device', 'versions')})
            for name, seeds in sheets.items()
            for tasks in seeds.values()
            for sheet in tasks.values()
        ),
    )


def _grouped(
    names: str, pairs: Iterable[tuple[str, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Each thing that is said once, with the names that it is said of."""
    found: list[dict[str, Any]] = []
    for name, about in pairs:
        same = (entry for entry in found if about.items() <= entry.items())
        known = next(same, None)
        if known is None:
            found.append(known := {**about, names: []})
        if name not in known[names]:
            known[names].append(name)
    return found


def _made(
    arm: StudyArm, seeds: list[int], work_dir: Path, root: Path
) -> dict[str, Any]:
    """How an arm was trained and what that cost."""
    about: dict[str, Any] = {
        'seeds': seeds,
        'note': arm.note,
        'value': arm.value,
        'checkpoint': arm.checkpoint,
        'tasks': arm.tasks,
    }
    if arm.checkpoint is not None:
        return about
    runs = [arm.run(seed, work_dir, root) for seed in seeds]
    times = [
        statistics.median(scalars['time'].values())
        for run in runs
        if (scalars := read_scalars(run.folder)).get('time')
    ]
    peaks = [peak for run in runs if (peak := peak_of(run.folder))]
    return {
        **about,
        'recipe': arm.config.name,
        'options': arm.options,
        'flags': list(arm.flags),
        'config': runs[0].settings()['config'],
        'seconds': [run.took() for run in runs],
        'last_logged': [_last_logged(run) for run in runs],
        'step_seconds': min(times) if times else None,
        'peak_bytes': max(peaks) if peaks else None,
    }


def _last_logged(run: Arm) -> dict[str, float]:
    """What the end of a training's log says, such as how losses are won."""
    scalars = read_scalars(run.folder).items()
    return {key: list(own.values())[-1] for key, own in scalars if own}


def _cost_of_tasks(own: dict[int, dict[str, Sheet]]) -> dict[str, Any]:
    """Seconds and most memory of each task, over seeds."""
    cost: dict[str, Any] = {}
    for sheets in own.values():
        for task, sheet in sheets.items():
            entry = cost.setdefault(task, {'seconds': [], 'peak_bytes': None})
            entry['seconds'].append(sheet['seconds'])
            peak = sheet['peak_bytes']
            if peak is not None:
                entry['peak_bytes'] = max(peak, entry['peak_bytes'] or 0)
    return cost


def _missing(study: Study, sheets: Sheets) -> list[str]:
    """What is not trained, or not measured by all tasks."""
    found = []
    for arm in study.arms:
        own = sheets.get(arm.name)
        if own is None:
            found.append(arm.name)
            continue
        for seed in arm.seeds:
            done = len(own.get(seed, ()))
            all_tasks = len(study.tasks_of(arm))
            if done < all_tasks:
                said = f'{arm.name}, seed {seed}'
                found.append(f'{said} ({done} of {all_tasks} tasks)')
    return found


def _first(sheets: Sheets, field: str) -> dict[str, Any]:
    """A field of each task's first sheet: the same for all arms."""
    found: dict[str, Any] = {}
    for seeds in sheets.values():
        for tasks in seeds.values():
            for task, sheet in tasks.items():
                found.setdefault(task, sheet[field])
    return found
