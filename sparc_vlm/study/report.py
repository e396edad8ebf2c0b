"""The page of a study, and the values behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparc_vlm.files import write_json
from sparc_vlm.study.figures import add_pictures, shrunk, sweep_figure
from sparc_vlm.study.plan import Study
from sparc_vlm.study.run import Failure
from sparc_vlm.study.summary import Sheets, gather, scalars_of, summarise
from sparc_vlm.study.tables import cost_table, difference_table, task_table
from sparc_vlm.visualization.comparison import CURVES
from sparc_vlm.visualization.curves import draw_curves
from sparc_vlm.visualization.report import Page

PAGE = 'page'


def write_report(
    study: Study,
    work_dir: Path,
    out: Path,
    root: Path,
    failures: list[Failure],
) -> Path | None:
    """Writes `results.json`, `page.html` and `page.md` of what is there.

    Args:
        study: What was asked for.
        work_dir: Where its arms are.
        out: Where to write.
        root: Holds `tools/train.py`.
        failures: What went wrong.

    Returns:
        The page; None where no arm is trained and measured.
    """
    sheets = gather(study, work_dir, root)
    if not sheets:
        return None
    report = summarise(study, sheets, work_dir, root, failures)
    write_json(out / 'results.json', report)
    page = study_page(study, report, sheets, work_dir)
    return page.save(out, PAGE)


def study_page(
    study: Study, report: dict[str, Any], sheets: Sheets, work_dir: Path
) -> Page:
    """The page.

    Args:
        study: What was asked for.
        report: What `summarise` returned.
        sheets: What was found, sample by sample.
        work_dir: Where the models are.
    """
    page = Page(study.title)
    if study.note:
        page.text(study.note)
    problems = [f'FAILED: {text}' for text in report['failed']]
    if report['missing']:
        problems.append(f'Not there: {"; ".join(report["missing"])}.')
    if problems:
        page.items(problems)
    sweep = sweep_figure(report)
    if sweep is not None:
        page.heading('Sweep')
        page.figure(shrunk(sweep), 'sweep')
    page.heading('Results')
    page.text(
        'Nothing corrects for how many arms and measures stand side by side: '
        'where two do not differ, one comparison in twenty is marked by '
        'chance, and more with few seeds, since two or three say little '
        'about how far trainings lie apart, and one says nothing.'
    )
    tasks = list(report['types'])
    for task in tasks:
        page.table(task_table(report, task))
    page.heading('Differences')
    for task in tasks:
        table = difference_table(report, task)
        if table is not None:
            page.table(table)
    page.heading('Cost')
    page.table(cost_table(report))
    scalars = scalars_of(study, sheets, work_dir)
    logged = {
        key: title
        for key, title in CURVES.items()
        if any(key in own for own in scalars.values())
    }
    if logged:  # a training of a few updates logs nothing
        page.heading('Training')
        page.text('The first seed of each.')
        page.figure(shrunk(draw_curves(scalars, logged)), 'curves')
    add_pictures(page, study, sheets, work_dir)
    page.heading('How this was made')
    page.items(_details(report))
    return page


def _details(report: dict[str, Any]) -> list[str]:
    """Recipes, options and versions in lines."""
    lines = []
    for name, arm in report['arms'].items():
        seeds = ', '.join(map(str, arm['seeds']))
        made = arm['checkpoint'] or arm['recipe']
        said = f'{name}: `{made}`, seeds {seeds}'
        if arm['checkpoint']:
            said = f'{name}: `{made}`'
        said += ''.join(
            f', {k}={v}' for k, v in arm.get('options', {}).items()
        )
        said += ''.join(f' {flag}' for flag in arm.get('flags', []))
        said += ''.join(
            f'; {task}: not measured'
            if changes is None
            else f'; {task} with `{changes}`'
            for task, changes in arm['tasks'].items()
        )
        lines.append(said + (f'. {arm["note"]}' if arm['note'] else ''))
    count = sum(len(arm['seeds']) for arm in report['arms'].values())
    for found in report['skipped']:
        said = ', '.join(f'{n} {why}' for why, n in found['left_out'].items())
        alike = len(found['models']) == count
        who = '' if alike else f' ({"; ".join(found["models"])})'
        lines.append(f'{found["task"]} left out {said}{who}.')
    for found in report['trained']:
        alike = len(found['arms']) == count
        where = f'{found["device"]} in {found["precision"]}'
        lines.append(_made_on('Trained', where, found, alike, '; '))
    alike = len(report['measured']) == 1
    for found in report['measured']:
        lines.append(_made_on('Measured', found['device'], found, alike))
    return lines


def _made_on(
    what: str, where: str, found: dict[str, Any], alike: bool, by: str = ', '
) -> str:
    """A line about a machine, and whose it was where not all were alike."""
    versions = ', '.join(f'{k} {v}' for k, v in found['versions'].items())
    who = '' if alike else f' ({by.join(found["arms"])})'
    return f'{what} on {where}{who}: {versions}'
