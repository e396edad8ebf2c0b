import math

from sparc_vlm.visualization import Measure, Table

MEASURES = [
    Measure('r', 'recall'),
    Measure('loss', 'loss', digits=2, higher_is_better=False),
    Measure('n', 'size', digits=0, higher_is_better=None),
]
VALUES = {
    'CLIP': {'r': 10.04, 'loss': 1.0, 'n': 5},
    'SPARC': {'r': 12.0, 'loss': 1.5, 'n': 9},
}


def test_best_follows_the_direction_of_the_measure():
    table = Table(MEASURES, VALUES)
    assert table.best == {'r': {'SPARC'}, 'loss': {'CLIP'}, 'n': set()}


def test_what_looks_equal_is_a_tie():
    values = {'a': {'r': 10.01}, 'b': {'r': 10.04}, 'c': {'r': 9.0}}
    assert Table(MEASURES[:1], values).best['r'] == {'a', 'b'}
    # Where all tie, none is best.
    del values['c']
    assert Table(MEASURES[:1], values).best['r'] == set()


def test_missing_and_nan_are_a_dash_and_never_best():
    table = Table(
        MEASURES[:2],
        {'a': {'r': math.nan}, 'b': {'r': 1.0, 'loss': 2.0}, 'c': {'r': 0.0}},
    )
    assert table.best == {'r': {'b'}, 'loss': set()}
    assert table.cells()[1] == ['recall', '-', '1.0', '0.0']
    assert table.cells()[2] == ['loss', '-', '2.00', '-']


def test_text_lines_up():
    table = Table(MEASURES, VALUES, {'r': 1.0}, 'Title', 'Note.')
    assert table.text() == '\n'.join(
        [
            'Title',
            '        CLIP   SPARC   chance',
            '------------------------------',
            'recall  10.0    12.0*     1.0',
            'loss    1.00*   1.50        -',
            'size       5       9        -',
            'Note.',
        ]
    )


def test_models_down_is_the_transpose():
    down = Table(MEASURES, VALUES, measures_down=False).cells()
    across = Table(MEASURES, VALUES).cells()
    assert down == [list(column) for column in zip(*across, strict=True)]
    assert down[0] == ['', 'recall', 'loss', 'size']


def test_markdown():
    values = {'a|b': {'r': 1.0}, 'c': {'r': 2.0}}
    lines = Table(MEASURES[:1], values, {'r': 0.5}).markdown().splitlines()
    assert lines == [
        '|  | a\\|b | c | chance |',
        '|---|---:|---:|---:|',
        '| recall | 1.0 | **2.0** | 0.5 |',
    ]


def test_html_is_escaped_and_bold():
    values = {'<a>': {'r': 1.0}, 'c': {'r': 2.0}}
    html = Table(MEASURES[:1], values, title='x & y', note='n<m').html()
    assert '<th>&lt;a&gt;</th>' in html
    assert '<td>1.0</td><td><b>2.0</b></td>' in html
    assert '<caption>x &amp; y</caption>' in html
    assert 'n&lt;m' in html
