import json

import numpy as np
import pytest

from sparc_vlm.visualization.curves import draw_curves, read_scalars, smooth


def write(folder, lines):
    folder.mkdir(parents=True)
    text = '\n'.join(
        line if isinstance(line, str) else json.dumps(line) for line in lines
    )
    (folder / 'scalars.json').write_text(text)


def test_scalars_of_a_resumed_run_are_joined(tmp_path):
    write(
        tmp_path / '20260101_000000' / 'vis_data',
        [
            {'loss': 3.0, 'iter': 10, 'step': 10},
            {'loss': 2.0, 'iter': 20, 'step': 20},
            {'retrieval/i2t_r1': 5.0, 'step': 20},
            '{"loss": 1.5, "ite',
        ],
    )
    write(
        tmp_path / '20260101_010000' / 'vis_data',
        [{'loss': 2.5, 'step': 20}, {'loss': 1.0, 'step': 30}],
    )
    scalars = read_scalars(tmp_path)
    assert scalars['loss'] == {10: 3.0, 20: 2.5, 30: 1.0}
    assert scalars['retrieval/i2t_r1'] == {20: 5.0}
    assert list(scalars['loss']) == [10, 20, 30]


def test_validation_is_read_where_its_iteration_is_known(tmp_path):
    write(
        tmp_path / 'x' / 'vis_data',
        [{'r/r1': 5.0, 'other': 1.0, 'step': 0}, {'r/r1': 6.0, 'step': 0}],
    )
    for iteration, value in ((20, 6.0), (10, 5.0)):
        path = tmp_path / 'val' / str(iteration) / 'metrics.json'
        path.parent.mkdir(parents=True)
        sheet = {'iteration': iteration, 'metrics': {'r/r1': value}}
        path.write_text(json.dumps(sheet))
    scalars = read_scalars(tmp_path)
    assert list(scalars['r/r1'].items()) == [(10, 5.0), (20, 6.0)]
    assert scalars['other'] == {0: 1.0}


def test_values_of_several_data_sets_are_averaged(tmp_path):
    write(
        tmp_path / 'vis_data',
        [
            {'step': 1, 'loss': 5, 'data0/loss': 2, 'data1/loss': 3},
            {'step': 2, 'data0/loss_local': 1, 'data1/loss_local': 4},
            {'step': 3, 'data0/loss_local': 1, 'data1/loss_local': 2},
            {'step': 4, 'data0/loss_local': 7},
        ],
    )
    scalars = read_scalars(tmp_path)
    assert scalars['loss'] == {1: 5}  # their sum, as it was logged
    assert scalars['loss_local'] == {2: 2.5, 3: 1.5}
    assert scalars['data1/loss_local'] == {2: 4, 3: 2}


def test_folder_without_scalars_is_empty(tmp_path):
    assert read_scalars(tmp_path) == {}


def test_running_mean():
    assert smooth([0, 3, 6, 9], 3) == pytest.approx([1.5, 3, 6, 7.5])
    assert smooth([1, np.nan, 3], 3)[1] == pytest.approx(2)
    assert smooth([1, 2], 0) == pytest.approx([1, 2])


def test_one_panel_a_scalar_and_one_line_a_run():
    long = {'loss': {step: 1 / step for step in range(1, 100)}}
    short = {'loss': {1: 1.0, 2: 0.5}, 'recall': {2: 3.0}}
    figure = draw_curves(
        {'CLIP': long, 'SPARC': short},
        {'loss': 'Loss', 'recall': 'Recall', 'absent': 'Absent'},
    )
    loss, recall, absent = figure.axes[:3]
    assert loss.get_title() == 'Loss'
    # The long curve is drawn twice: as it is, faint, and smoothed.
    assert len(loss.lines) == 3
    assert [line.get_label() for line in recall.lines] == ['SPARC']
    assert not absent.lines
    assert absent.texts[0].get_text() == 'not logged'
    alone = draw_curves({'CLIP': long}, {'loss': 'Loss'})
    assert len(alone.axes) == 1
    assert 3 * alone.get_figwidth() == pytest.approx(figure.get_figwidth())
