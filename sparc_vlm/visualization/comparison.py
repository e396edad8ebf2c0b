"""Two models side by side: their numbers, what they say, their maps.

Takes what the tasks found and turns it into one table, a plain verdict and
a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparc_vlm.evaluation import Pointing, Retrieval, Segmentation, TaskResult
from sparc_vlm.evaluation.overlap import given_classes
from sparc_vlm.evaluation.task import Progress, Task
from sparc_vlm.naming import named_objects
from sparc_vlm.visualization.curves import Scalars, draw_curves
from sparc_vlm.visualization.maps import compare_word_maps, word_maps
from sparc_vlm.visualization.report import Page
from sparc_vlm.visualization.tables import Measure, Table

MEASURES = [
    *(
        Measure(f'retrieval/{way}_r{k}', f'{name} R@{k}')
        for way, name in (('i2t', 'image to text'), ('t2i', 'text to image'))
        for k in (1, 5, 10)
    ),
    Measure('segmentation/miou', 'mIoU'),
    Measure('segmentation/miou_patches', 'mIoU, local patches'),
    Measure('segmentation/miou_fg', 'foreground mIoU'),
    Measure('segmentation/miou_fg_patches', 'foreground mIoU, local patches'),
    Measure('pointing/pointing', 'pointing, local patches'),
    Measure('pointing/pointing_dense', 'pointing, dense patches'),
]
CURVES = {
    'loss': 'loss',
    'loss_local': 'local loss, weighted',
    'rolled_local': 'the same beside another image',
    'effective_patches': 'patches that a token spreads over',
    'retrieval/i2t_r1': 'image to text R@1 (%)',
    'retrieval/t2i_r1': 'text to image R@1 (%)',
}


def standard_tasks(
    source: Any, batch_size: int = 64, prompt: str = 'a {}'
) -> list[Task]:
    """Retrieval, segmentation and pointing on one source.

    Args:
        source: Captioned pictures with segments, held out from training.
        batch_size: Pictures, or captions, encoded at a time.
        prompt: How a class name is put to the text encoder.
    """
    return [
        Retrieval(source, batch_size=batch_size),
        Segmentation(source, batch_size=batch_size, prompt=prompt),
        Pointing(source, batch_size=batch_size),
    ]


def measure(
    model: Any, tasks: Sequence[Task], progress: Progress | None = None
) -> list[TaskResult]:
    """Runs the tasks on a model."""
    return [task.run(model, progress) for task in tasks]


def joined(
    results: Sequence[TaskResult],
) -> tuple[dict[str, float], dict[str, float]]:
    """All numbers of several tasks, and chance, under 'task/metric'."""
    metrics, chance = {}, {}
    for result in results:
        for key, value in result.metrics.items():
            metrics[f'{result.name}/{key}'] = value
        for key, value in result.chance.items():
            chance[f'{result.name}/{key}'] = value
    return metrics, chance


def comparison_table(
    values: Mapping[str, Mapping[str, float]],
    chance: Mapping[str, float],
    title: str = '',
) -> Table:
    """The one table of a comparison.

    Args:
        values: By the model's name, what `joined` returned.
        chance: What guessing scores.
        title: Stands above it.
    """
    return Table(MEASURES, values, chance, title, 'All in percent.')


def verdict(table: Table, challenger: str, baseline: str) -> list[str]:
    """Says plainly where one model is better than another and where not.

    Compares what the table shows, so that no sentence claims a difference
    that a reader cannot see.

    Args:
        table: Holds both models.
        challenger: Name of the model that is hoped to be better.
        baseline: Name of the other.

    Returns:
        Sentences: the count, what is not better, what is no better than
        chance.
    """
    better, not_better, at_chance = [], [], []
    for item in table.measures:
        shown = [
            item.show(table.values[name].get(item.key))
            for name in (challenger, baseline)
        ]
        if '-' in shown:
            continue
        ours, theirs = map(float, shown)
        guess = (table.chance or {}).get(item.key)
        if guess is not None and ours <= float(item.show(guess)):
            at_chance.append(item.title)
        if ours > theirs:
            better.append(item.title)
        else:
            not_better.append(f'{item.title} ({shown[0]} against {shown[1]})')
    count = len(better) + len(not_better)
    said = [
        f'{challenger} is better than {baseline} on {len(better)} of '
        f'{count} measures.'
    ]
    if not_better:
        said.append(
            f'{challenger} is NOT better than {baseline} on: '
            + ', '.join(not_better)
            + '.'
        )
    if at_chance:
        said.append(
            f'{challenger} is no better than chance on: '
            + ', '.join(at_chance)
            + '.'
        )
    return said


def telling_caption(source: Any, index: int, objects: int = 2) -> str:
    """The shortest caption of a picture that names several of its objects.

    Args:
        source: Pictures with captions and segments.
        index: Which picture.
        objects: Enough of them; where no caption names so many, the one that
            names most is taken.
    """
    labels, names = source.segments(index)
    classes, _ = given_classes(labels, list(names))

    def named(caption: str) -> int:
        found = named_objects(caption.split(), classes)
        meant = {name for objects in found.values() for name in objects}
        return min(len(meant), objects)

    captions = [text for text in source.captions(index) if text.strip()]
    return max(captions, key=lambda text: (named(text), -len(text)))


def comparison_page(
    title: str,
    table: Table,
    statements: Sequence[str],
    models: Mapping[str, Any],
    scalars: Mapping[str, Scalars],
    source: Any,
    indices: Sequence[int],
    details: Sequence[str] = (),
) -> Page:
    """A page that compares models.

    Args:
        title: Its heading.
        table: The numbers.
        statements: What they say, see `verdict`.
        models: By name, in the order of their rows.
        scalars: What each logged while training, by name.
        source: Held-out pictures with captions and segments.
        indices: Which of them to draw.
        details: How it was made: settings, versions, times.
    """
    page = Page(title)
    page.items(list(statements))
    page.table(table)
    page.text(
        'mIoU is of zero-shot segmentation: each patch takes the nearest of '
        'the classes that the picture shows. Background pixels count as '
        'wrong, since every patch must choose a class, so that small objects '
        'keep even a perfect model low; foreground mIoU leaves them out. '
        'Pointing asks, for each word that names an '
        'object, whether its strongest patch lies on that object. Local '
        'patches are those of the local loss, dense patches those in the '
        'space of the global text embedding.'
    )
    page.heading('Where each word looks')
    page.text(
        'Alignment weights of equations 2 to 4, from local patches; words '
        'that name nothing are left out. The pictures were not trained on, '
        'and were not chosen by their result.'
    )
    for index in indices:
        caption = telling_caption(source, index)
        image = source.image(index)
        maps = {
            name: word_maps(model, image, caption)
            for name, model in models.items()
        }
        page.figure(compare_word_maps(maps, 'omit'), f'maps-{index}')
    page.heading('Training')
    page.figure(draw_curves(scalars, CURVES), 'curves')
    if details:
        page.heading('How this was made')
        page.items(list(details))
    return page
