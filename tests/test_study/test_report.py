import json
import shutil
import statistics

import pytest
import torch
from mmengine.config import Config

from sparc_vlm.engine.machine import note_machine
from sparc_vlm.evaluation.statistics import Scores, bootstrap
from sparc_vlm.study import metrics as metrics_of
from sparc_vlm.study import read_sheet, read_study, write_report
from sparc_vlm.study.figures import sweep_figure
from sparc_vlm.study.measure import write_sheet
from sparc_vlm.study.tables import (
    columns_of,
    cost_table,
    difference_table,
    task_table,
)
from sparc_vlm.study.titles import FEWER, MEASURES, NEITHER
from tests.test_study.made import ROOT, STUDY, run, write_study

PICTURES = """
tasks += [dict(type='Segmentation', dataset=tasks[0]['dataset'])]
pictures = dict(dataset=tasks[0]['dataset'], indices=[0, 2])
arms[0]['note'] = 'As ever.'
"""


def report_of(path, work_dir, failures=()):
    study = read_study(path, ROOT)
    out = work_dir / 'out'
    page = write_report(study, work_dir, out, ROOT, list(failures))
    return json.loads((out / 'results.json').read_text()), page


def test_a_page_with_tables_and_figures(trainer, tmp_path):
    path = write_study(tmp_path, STUDY + PICTURES)
    runner = run(path, tmp_path / 'work')
    report, page = report_of(path, tmp_path / 'work', runner.failures)
    text = page.read_text('utf-8')
    markdown = page.with_suffix('.md').read_text('utf-8')
    for said in (
        'Zero-shot retrieval, R@K',
        'Zero-shot segmentation, mean IoU',
        'Pointing game on the words of captions',
        'Cost of training',
        'retrieved first',
        'As ever.',
    ):
        assert said in text
        assert said in markdown
    # The curves and the two pictures.
    assert text.count('data:image/png') == 3
    names = {path.stem for path in (page.parent / 'figures').glob('*.png')}
    assert names == {'curves', 'maps-0', 'maps-2'}
    assert 'FAILED' not in text
    assert report['failed'] == report['missing'] == []
    arm = report['arms']['SPARC']
    assert arm['recipe'] == 'sparc_vittiny_scenes.py'
    assert "type='SPARC'" in arm['config']
    assert arm['seeds'] == [0]
    assert arm['peak_bytes'] == 3e9
    assert arm['step_seconds'] == 0.5
    assert arm['last_logged'][0]['time'] > 0
    assert arm['evaluation']['retrieval']['seconds'][0] > 0
    (measured,) = report['measured']
    assert measured['versions']['torch'] == torch.__version__
    assert 'Measured on cpu: python' in markdown
    assert report['pictures']['retrieval'] == 6


def test_maps_stay_when_models_are_deleted(trainer, tmp_path):
    path, work = write_study(tmp_path, STUDY + PICTURES), tmp_path / 'work'
    run(path, work)
    _, page = report_of(path, work)
    before = (page.parent / 'figures/maps-0.png').read_bytes()
    shutil.rmtree(work / 'clip/seed0/model')
    _, page = report_of(path, work)
    assert (page.parent / 'figures/maps-0.png').read_bytes() == before
    assert 'are deleted' not in page.read_text('utf-8')
    # Other weights would have drawn something else.
    (work / 'clip/seed0/weights.sha256').write_text('0\n')
    for path_of_sheet in (work / 'clip/seed0/results').glob('*.json.gz'):
        sheet = read_sheet(path_of_sheet)
        sheet['settings']['weights'] = '0'
        write_sheet(path_of_sheet, sheet)
    _, page = report_of(path, work)
    assert 'No maps of CLIP: the models' in page.read_text('utf-8')


def test_it_says_where_and_with_what_each_arm_was_measured(
    study, trainer, tmp_path
):
    run(study, tmp_path / 'work')
    path = tmp_path / 'work/sparc/seed0/results/retrieval.json.gz'
    sheet = read_sheet(path)
    sheet |= {'device': 'cuda', 'versions': {'torch': '9.9'}}
    write_sheet(path, sheet)
    report, page = report_of(study, tmp_path / 'work')
    there, here = sorted(
        report['measured'], key=lambda m: m['device'] == 'cpu'
    )
    assert there['arms'] == ['SPARC']
    assert here['versions']['torch'] == torch.__version__
    markdown = page.with_suffix('.md').read_text()
    assert '- Measured on cuda (SPARC): torch 9.9' in markdown


def test_it_says_in_what_precision_each_arm_was_trained(
    study, trainer, tmp_path
):
    run(study, tmp_path / 'work')
    report, _ = report_of(study, tmp_path / 'work')
    assert report['trained'] == []
    for name, precision in (('clip', 'bfloat16'), ('sparc', 'float32')):
        wrapper = dict(dtype=precision)
        for folder in (tmp_path / 'work' / name).iterdir():
            cfg = dict(work_dir=str(folder), optim_wrapper=wrapper)
            note_machine(Config(cfg))
    report, page = report_of(study, tmp_path / 'work')
    clip, sparc = report['trained']
    assert clip['arms'] == ['CLIP, seed 0', 'CLIP, seed 1']
    assert sparc['arms'] == ['SPARC, seed 0']
    said = page.with_suffix('.md').read_text('utf-8')
    assert ' in bfloat16 (CLIP, seed 0; CLIP, seed 1): python' in said
    assert ' in float32 (SPARC, seed 0): python' in said


def test_numbers_are_those_of_the_sheets(
    study, trainer, tmp_path, monkeypatch
):
    monkeypatch.setattr(metrics_of, 'FEWEST', 2)
    run(study, tmp_path / 'work')
    report, _ = report_of(study, tmp_path / 'work')

    def sheet(run):
        folder = tmp_path / 'work' / run / 'results'
        return read_sheet(folder / 'retrieval.json.gz')

    def scores(*runs):
        samples = [[s['i2t_r1'] for s in sheet(r)['samples']] for r in runs]
        return Scores(100 * Scores(samples).values)

    runs = 'clip/seed0', 'clip/seed1'
    metric = report['arms']['CLIP']['metrics']['retrieval']['i2t_r1']
    values = [sheet(run)['metrics']['i2t_r1'] for run in runs]
    assert metric['seeds'] == values
    assert metric['mean'] == statistics.fmean(values)
    assert metric['spread'] == statistics.stdev(values)
    alone = bootstrap(scores(*runs))
    assert metric['interval'] == pytest.approx([alone.low, alone.high])
    assert 'difference' not in metric
    other = report['arms']['SPARC']['metrics']['retrieval']['i2t_r1']
    pair = bootstrap(scores('sparc/seed0'), scores(*runs))
    assert other['spread'] is None
    assert other['difference']['mean'] == pytest.approx(pair.value)
    assert other['difference']['interval'] == pytest.approx(
        [pair.low, pair.high]
    )


def test_what_one_seed_or_one_arm_lacks_is_said(study, trainer, tmp_path):
    run(study, tmp_path / 'work')

    def change(run, field, key, value=None):
        path = tmp_path / 'work' / run / 'results/retrieval.json.gz'
        sheet = read_sheet(path)
        sheet[field].pop(key, None)
        if value is not None:
            sheet[field][key] = value
        write_sheet(path, sheet)

    change('clip/seed1', 'metrics', 'i2t_r1')
    change('clip/seed0', 'metrics', 't2i_r1')
    change('sparc/seed0', 'skipped', 'embeddings that are not finite', 4)
    report, page = report_of(study, tmp_path / 'work')
    found = report['arms']['CLIP']['metrics']['retrieval']
    for metric, seeds in (('i2t_r1', [0]), ('t2i_r1', [1])):
        there = [
            s for s, v in enumerate(found[metric]['seeds']) if v is not None
        ]
        assert there == seeds
        assert found[metric]['mean'] == found[metric]['seeds'][seeds[0]]
        assert found[metric]['spread'] is found[metric]['interval'] is None
        other = report['arms']['SPARC']['metrics']['retrieval'][metric]
        assert other['difference']['interval'] is None
    said = (
        'retrieval left out 4 embeddings that are not finite (SPARC, seed 0).'
    )
    assert said in page.with_suffix('.md').read_text()


def test_numbers_of_seeds_stand_at_their_seeds(study, trainer, tmp_path):
    run(study, tmp_path / 'work')
    results = tmp_path / 'work/clip/seed0/results'
    (results / 'retrieval.json.gz').unlink()
    report, page = report_of(study, tmp_path / 'work')
    arm = report['arms']['CLIP']
    assert arm['seeds'] == [0, 1]
    first, second = arm['metrics']['retrieval']['i2t_r1']['seeds']
    assert first is None
    assert arm['metrics']['retrieval']['i2t_r1']['mean'] == second
    assert report['missing'] == ['CLIP, seed 0 (1 of 2 tasks)']


def test_what_is_missing_is_said_and_the_rest_shown(study, trainer, tmp_path):
    trainer.codes['sparc/seed0'] = trainer.codes['clip/seed1'] = 9
    runner = run(study, tmp_path / 'work')
    report, page = report_of(study, tmp_path / 'work', runner.failures)
    text = page.read_text('utf-8')
    assert (
        'FAILED: SPARC, seed 0: training: training ended with code 9' in text
    )
    assert report['missing'] == ['CLIP, seed 1 (0 of 2 tasks)', 'SPARC']
    assert list(report['arms']) == ['CLIP']
    # Nothing is beside the baseline.
    assert 'R@K: difference to' not in text


def test_nothing_there_is_no_page(study, trainer, tmp_path):
    assert (
        write_report(
            read_study(study, ROOT), tmp_path / 'work', tmp_path, ROOT, []
        )
        is None
    )


def entry(mean, low=None, high=None, spread=None):
    found = {'mean': mean, 'spread': spread, 'seeds': [mean]}
    if low is not None:
        found['difference'] = {'mean': mean - 50, 'interval': [low, high]}
    return found


def made_report():
    """Three arms on one metric, a value each but for the baseline."""
    arms = {
        'base': {'value': None, 'metrics': {'t': {'hit': entry(50.0)}}},
        'up': {
            'value': 1.0,
            'metrics': {'t': {'hit': entry(60.04, 2.0, 18.0, 1.26)}},
        },
        'down': {
            'value': 10.0,
            'metrics': {'t': {'hit': entry(44.0, -9.0, -1.0)}},
        },
    }
    more = {'checkpoint': None, 'seeds': [0], 'seconds': [90.0]}
    for arm in arms.values():
        arm.update(more, options={}, step_seconds=None, peak_bytes=None)
    return {
        'baseline': 'base',
        'arms': arms,
        'types': {'t': 'Probe'},
        'chance': {'t': {'hit': 50.0}},
        'pictures': {'t': 7},
    }


def test_marks_tell_where_the_interval_lies():
    table = task_table(made_report(), 't')
    assert table.rows == [
        ['', 'hit'],
        ['base', '50.0'],
        ['up', '60.0 ±1.3 ▲'],
        ['down', '44.0 ▼'],
        ['chance', '50.0'],
    ]
    assert table.marked == {(2, 1)}
    assert '**60.0 ±1.3 ▲**' in table.markdown()
    assert table.title == 'Probe: t'
    rows = difference_table(made_report(), 't').rows
    assert rows[1:] == [
        ['up', '+10.0 [+2.0, +18.0]'],
        ['down', '-6.0 [-9.0, -1.0]'],
    ]
    assert cost_table(made_report()).rows[1] == [
        *('base', '1', '-', '-', '1.5', '-')
    ]


@pytest.mark.parametrize(
    ('kind', 'metric', 'best'),
    [
        ('Probe', 'hit', 2),
        ('Captioning', 'cider', 2),
        ('Captioning', 'chair_i', 3),
        ('Captioning', 'false_captions', 3),
        ('Captioning', 'words', None),
        ('Captioning', 'cider_elsewhere', None),
        ('Grounding', 'pointing_centre', None),
        ('POPE', 'random_yes', None),
        ('POPE', 'random_f1', 2),
    ],
)
def test_the_best_is_the_lowest_of_what_is_wrong(kind, metric, best):
    report = made_report() | {'types': {'t': kind}, 'chance': {}}
    for arm in report['arms'].values():
        arm['metrics']['t'] = {metric: arm['metrics']['t']['hit']}
    marked = {(best, 1)} if best else set()
    assert task_table(report, 't').marked == marked


def test_every_metric_with_a_direction_is_shown():
    for kind, metrics in {**FEWER, **NEITHER}.items():
        if kind in MEASURES:
            assert set(metrics) <= set(MEASURES[kind])


@pytest.mark.parametrize(
    ('kind', 'found', 'shown'),
    [
        ('New', ['b', 'a/c_d'], ['b', 'a/c d']),
        ('KPrecision', ['k_p', 'k_p_own'], ['K-P']),
        (
            'Foils',
            ['accuracy/add_object', 'accuracy', 'accuracy_aligned/add_object'],
            ['all, whole', 'add object'],
        ),
    ],
)
def test_columns_of_many_metrics(kind, found, shown):
    metrics = {key: entry(1.0) for key in found}
    report = {'arms': {'a': {'metrics': {'t': metrics}}}, 'types': {'t': kind}}
    assert list(columns_of(report, 't').values()) == shown


def test_a_sweep_is_drawn_over_its_values():
    report = made_report()
    (panel,) = sweep_figure(report).axes
    line, base = panel.lines
    assert line.get_xydata().tolist() == [[1, 60.04], [10, 44]]
    assert set(base.get_ydata()) == {50}
    assert panel.get_xscale() == 'log'
    report['arms']['up']['value'] = None
    assert sweep_figure(report) is None
