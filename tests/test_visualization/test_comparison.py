import pytest

from sparc_vlm.visualization.comparison import (
    MEASURES,
    comparison_page,
    comparison_table,
    joined,
    measure,
    standard_tasks,
    telling_caption,
    verdict,
)
from tests.test_evaluation.colour_world import ColourModel, some_boards


@pytest.fixture(scope='module')
def found():
    source = some_boards(8)
    tasks = standard_tasks(source, batch_size=3)
    models = {'CLIP': ColourModel(dense_shift=1), 'SPARC': ColourModel()}
    values = {}
    for name, model in models.items():
        values[name], chance = joined(measure(model, tasks))
    return source, models, values, chance


def test_the_tasks_give_every_number_of_the_table(found):
    _, _, values, chance = found
    for item in MEASURES:
        assert item.key in values['SPARC']
        assert item.key in chance
    table = comparison_table(values, chance)
    assert not any('-' in row[1:] for row in table.cells())


def test_verdict_says_what_is_not_better(found):
    _, _, values, chance = found
    table = comparison_table(values, chance)
    better, not_better, *_ = verdict(table, 'SPARC', 'CLIP')
    # Only the dense patches differ, in three measures.
    assert better == 'SPARC is better than CLIP on 3 of 12 measures.'
    assert 'SPARC is NOT better than CLIP on: image to text R@1' in not_better
    assert ' mIoU (' not in not_better
    assert 'pointing, local patches (100.0 against 100.0)' in not_better


def test_verdict_on_chance_and_on_missing_numbers():
    key = MEASURES[0].key
    values = {'a': {key: 1.0}, 'b': {key: 0.5}}
    table = comparison_table(values, {key: 1.0})
    assert verdict(table, 'a', 'b') == [
        'a is better than b on 1 of 1 measures.',
        'a is no better than chance on: image to text R@1.',
    ]


def test_telling_caption_names_enough_and_is_short():
    source = some_boards(9)
    nouns = source.segments(8)[1]
    assert len(nouns) == 3
    one, two, three = nouns
    source.boards[8].captions = [
        f'a {one}',
        f'a {one} and a {two} and a {three}',
        f'here is a {one} and also a {two}',
        f'a {one} and a {two}',
        '',
    ]
    assert telling_caption(source, 8) == f'a {one} and a {two}'
    assert telling_caption(source, 8, 1) == f'a {one}'
    assert telling_caption(source, 8, 5) == source.captions(8)[1]


def test_page_holds_table_maps_and_curves(found, tmp_path):
    source, models, values, chance = found
    table = comparison_table(values, chance, '8 boards')
    page = comparison_page(
        'CLIP and SPARC',
        table,
        verdict(table, 'SPARC', 'CLIP'),
        models,
        {'CLIP': {'loss': {1: 2.0, 2: 1.0}}, 'SPARC': {}},
        source,
        [0, 5],
        ['seed 0'],
    )
    path = page.save(tmp_path)
    names = sorted(p.stem for p in (tmp_path / 'figures').iterdir())
    assert names == ['curves', 'maps-0', 'maps-5']
    html = path.read_text('utf-8')
    assert 'NOT better' in html
    assert '8 boards' in html
    assert 'seed 0' in html
