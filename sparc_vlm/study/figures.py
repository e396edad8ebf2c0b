"""Figures of a study: the sweep, and the same pictures seen by each arm."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.errors import UserError
from sparc_vlm.registry import DATASETS
from sparc_vlm.study.found import THRESHOLD, found_figure
from sparc_vlm.study.kept import drawing_path, weights_of
from sparc_vlm.study.models import open_model
from sparc_vlm.study.plan import Study, StudyArm
from sparc_vlm.study.summary import Sheets
from sparc_vlm.study.tables import TextTable, columns_of, heading_of
from sparc_vlm.study.written import add_captions, writers
from sparc_vlm.visualization.comparison import telling_caption
from sparc_vlm.visualization.maps import compare_word_maps, word_maps
from sparc_vlm.visualization.report import Page

DPI = 80
SHADES = 128
"""Colours of a figure, which make its file a third as large."""
MOST_SHOWN = 5
PICTURES = 4
TOP = 'top_caption'


def shrunk(figure: Figure, dpi: int = DPI) -> Image.Image:
    """A figure as a small picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=dpi, facecolor='white')
    picture = Image.open(buffer).convert('RGB')
    return picture.quantize(SHADES, Image.Quantize.MEDIANCUT)


def sweep_figure(report: dict[str, Any]) -> Figure | None:
    """Metrics over the values of a sweep, a panel a task.

    The baseline, where it has no value, is a dashed line.

    Args:
        report: What `summarise` returned.

    Returns:
        None where fewer than two arms have a value.
    """
    arms = {
        name: arm
        for name, arm in report['arms'].items()
        if arm['value'] is not None
    }
    if len(arms) < 2:
        return None
    tasks = list(report['types'])
    figure = Figure(figsize=(3.6 * len(tasks), 3.2), layout='constrained')
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for panel, task in zip(panels, tasks, strict=True):
        panel.set_title(heading_of(report, task), fontsize=9)
        for key, title in list(columns_of(report, task).items())[:6]:
            points = sorted(
                (arm['value'], arm['metrics'][task][key]['mean'])
                for arm in arms.values()
                if key in arm['metrics'].get(task, {})
            )
            if not points:
                continue
            (line,) = panel.plot(
                *zip(*points, strict=True), marker='o', ms=3, label=title
            )
            base = report['arms'].get(report['baseline'])
            if base and base['value'] is None:
                level = base['metrics'].get(task, {}).get(key)
                if level:
                    panel.axhline(
                        level['mean'], color=line.get_color(), ls='--', lw=0.8
                    )
        if all(arm['value'] > 0 for arm in arms.values()):
            panel.set_xscale('log')
            panel.minorticks_off()
        values = sorted(arm['value'] for arm in arms.values())
        panel.set_xticks(values, [f'{value:g}' for value in values])
        panel.grid(alpha=0.25)
        panel.tick_params(labelsize=8)
        panel.spines[['top', 'right']].set_visible(False)
        panel.legend(fontsize=7, frameon=False)
    return figure


def open_pictures(asked: dict[str, Any]) -> tuple[Any, Sequence[int]]:
    """The data that examples are from, and which pictures of it.

    Args:
        asked: `pictures` of a study.

    Raises:
        UserError: The data cannot be opened, or have no such pictures.
    """
    try:
        source = DATASETS.build(dict(asked['dataset']))
    except UserError as error:
        raise ConfigError(f'pictures: {error}') from error
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f'pictures: the dataset cannot be built: '
            f'{" ".join(str(error).split())}'
        ) from error
    indices = asked.get('indices') or range(min(PICTURES, len(source)))
    for index in indices:
        if index not in range(len(source)):
            raise ConfigError(
                f'pictures: there is no picture {index} in the dataset, '
                f'which has {len(source)}'
            )
    return source, indices


def add_pictures(
    page: Page, study: Study, sheets: Sheets, work_dir: Path
) -> None:
    """What each arm sees in some pictures.

    Of a detector what it finds, of a captioner what it wrote, of others heat
    maps and the captions that they retrieve first.

    Args:
        page: Where they are added.
        study: Its `pictures` say which; nothing is added without. For
            detectors, `words` says what to look for and `threshold` from
            which score on it is shown.
        sheets: What was found; retrieval and captioning know the captions.
        work_dir: Where the models are.
    """
    if not study.pictures:
        return
    chosen = study.pictures.get('arms') or list(sheets)[:MOST_SHOWN]
    arms = [a for a in study.arms if a.name in chosen and a.name in sheets]
    source, indices = open_pictures(study.pictures)
    authors = writers([arm.name for arm in arms], sheets)
    if authors:
        add_captions(page, source, indices, authors, sheets)
        arms = [arm for arm in arms if arm.name not in authors]
    if not arms:
        return
    there = [a for a in arms if _is_there(a, sheets, work_dir)]
    models = {arm.name: _model(arm, sheets, work_dir) for arm in there}
    deleted = [arm.name for arm in arms if arm not in there]
    finders = {n: m for n, m in models.items() if hasattr(m, 'detect')}
    if finders:
        _add_found(page, study.pictures, source, indices, finders)
    if finders and len(finders) == len(models):
        if deleted:
            page.text(f'{", ".join(deleted)}: the models are deleted.')
        return
    page.heading('Where each word looks')
    page.text(
        'Alignment weights of equations 2 to 4, from local patches, at the '
        'first seed; words that name nothing are left out. The pictures were '
        'not trained on, and were not chosen by their result. Below each, '
        'the caption that every model retrieves first for it.'
    )
    names = [arm.name for arm in arms]
    weights = [weights_of(arm, _run(arm, sheets, work_dir)) for arm in arms]
    drawn = {
        index: drawing_path(work_dir, weights, source.key(index))
        for index in indices
    }
    if deleted and not all(path.is_file() for path in drawn.values()):
        page.text(f'No maps of {", ".join(deleted)}: the models are deleted.')
    for index, path in drawn.items():
        if deleted and path.is_file():
            page.figure(path, f'maps-{index}')
        else:
            maps = _maps(page, source, index, models)
            if maps:
                picture = shrunk(compare_word_maps(maps, 'omit'))
                page.figure(picture, f'maps-{index}')
            if len(maps) == len(arms):
                path.parent.mkdir(exist_ok=True)
                picture.save(path)
        table = _top_captions(source, index, names, sheets)
        if table is not None:
            page.table(table)


def _maps(
    page: Page, source: Any, index: int, models: dict[str, Any]
) -> dict[str, Any]:
    """The maps of a picture, of each model that draws any."""
    image, caption = source.image(index), _caption(source, index)
    maps = {}
    for name, model in models.items():
        if hasattr(model, 'detect'):
            continue
        try:
            maps[name] = word_maps(model, image, caption)
        except UserError as error:
            page.text(f'{name} draws no maps: {error}.')
    return maps


def _add_found(
    page: Page,
    asked: dict[str, Any],
    source: Any,
    indices: Sequence[int],
    models: dict[str, Any],
) -> None:
    """What the detectors find on each picture."""
    threshold = asked.get('threshold', THRESHOLD)
    page.heading('What is found')
    page.text(
        f'All with a score of {threshold} or more, at the first seed. The '
        'pictures were not trained on, and were not chosen by their result.'
    )
    for index in indices:
        try:
            figure = found_figure(
                models, source.image(index), asked.get('words'), threshold
            )
        except UserError as error:
            page.text(f'Picture {index} is left out: {error}.')
        else:
            page.figure(shrunk(figure), f'found-{index}')


def _run(arm: StudyArm, sheets: Sheets, work_dir: Path) -> Path:
    seed = next(iter(sheets[arm.name]))
    return arm.place(seed, work_dir)


def _is_there(arm: StudyArm, sheets: Sheets, work_dir: Path) -> bool:
    trained = arm.checkpoint is None
    return not trained or (_run(arm, sheets, work_dir) / 'model').is_dir()


def _model(arm: StudyArm, sheets: Sheets, work_dir: Path) -> Any:
    own = _run(arm, sheets, work_dir) / 'model'
    return open_model(arm.checkpoint or str(own))


def _caption(source: Any, index: int) -> str:
    """One that names what the picture shows, or else the first."""
    if hasattr(source, 'segments'):
        return telling_caption(source, index)
    return source.captions(index)[0]


def _top_captions(
    source: Any, index: int, names: list[str], sheets: Sheets
) -> TextTable | None:
    """The caption that each arm retrieves first for a picture."""
    key, rows = source.key(index), []
    for name in names:
        first = next(iter(sheets[name].values()))
        for sheet in first.values():
            found = [
                sample
                for sample in sheet['samples']
                if sample['key'] == key and TOP in sample
            ]
            if found:
                own = found[0].get('top_caption_key') == key
                mark = 'its own' if own else "another picture's"
                rows.append([name, found[0][TOP], mark])
                break
    if not rows:
        return None
    return TextTable([['', 'retrieved first', ''], *rows])
