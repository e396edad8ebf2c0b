import json
import shutil
import threading

import pytest

from sparc_vlm.errors import UserError
from sparc_vlm.evaluation import Pointing
from sparc_vlm.study import metrics, read_sheet, write_report
from sparc_vlm.study import run as running
from sparc_vlm.study.kept import peak_of
from tests.test_study.made import ROOT, STUDY, run, runner_of, write_study


def test_every_arm_at_every_seed_is_trained_and_measured(
    study, trainer, tmp_path
):
    lines = []
    runner = run(study, tmp_path / 'work', lines)
    assert runner.failures == []
    # The first seed of all arms before the second of any.
    assert trainer.started == ['clip/seed0', 'sparc/seed0', 'clip/seed1']
    assert 'randomness.seed=1' in trainer.commands[2]
    assert trainer.threads == [None] * 3
    sheet = read_sheet(tmp_path / 'work/clip/seed1/results/retrieval.json.gz')
    assert len(sheet['samples']) == 6
    assert sheet['type'] == 'Retrieval'
    assert sheet['seconds'] > 0
    assert 'torch' in sheet['versions']
    assert sheet['settings']['task']['dataset']['split'] == 'test'
    assert peak_of(tmp_path / 'work/sparc/seed0') == 3_000_000_000
    assert lines[-1].startswith('CLIP, seed 1: ')
    assert lines[-1].endswith(' s; 3 of 3')


def test_what_is_done_is_not_done_again(study, trainer, tmp_path, monkeypatch):
    run(study, tmp_path / 'work')
    monkeypatch.setattr(running, 'measure', None)
    lines = []
    runner = run(study, tmp_path / 'work', lines)
    assert runner.failures == []
    assert len(trainer.started) == 3
    assert 'CLIP, seed 0: done; 1 of 3' in lines


def test_a_measured_model_may_be_deleted(study, trainer, tmp_path):
    run(study, tmp_path / 'work')
    for model in (tmp_path / 'work').glob('*/seed*/model'):
        shutil.rmtree(model)
    lines = []
    runner = run(study, tmp_path / 'work', lines)
    assert len(trainer.started) == 3
    assert 'CLIP, seed 0: done; 1 of 3' in lines
    page = write_report(
        runner.study, tmp_path / 'work', tmp_path / 'out', ROOT, []
    )
    report = json.loads((tmp_path / 'out/results.json').read_text())
    assert report['arms']['CLIP']['seconds'][0] >= 0
    assert report['missing'] == []
    assert page is not None
    # Another task needs it again.
    more = "tasks += [dict(type='Segmentation', dataset=tasks[0]['dataset'])]"
    run(write_study(tmp_path, STUDY + more), tmp_path / 'work')
    assert len(trainer.started) == 6


def test_a_task_more_is_measured_without_training(study, trainer, tmp_path):
    run(study, tmp_path / 'work')
    more = "tasks += [dict(type='Segmentation', dataset=tasks[0]['dataset'])]"
    write_study(tmp_path, STUDY + more)
    lines = []
    run(study, tmp_path / 'work', lines)
    assert len(trainer.started) == 3
    found = tmp_path / 'work/sparc/seed0/results'
    assert len(list(found.glob('*.json.gz'))) == 3
    assert not any(line.endswith('done; 1 of 3') for line in lines)


def test_other_settings_of_a_task_set_the_old_sheet_aside(
    study, trainer, tmp_path
):
    run(study, tmp_path / 'work')
    write_study(tmp_path, STUDY.replace('num_images=6', 'num_images=5'))
    run(study, tmp_path / 'work')
    assert len(trainer.started) == 3
    found = tmp_path / 'work/sparc/seed0/results'
    assert len(read_sheet(found / 'retrieval.json.gz')['samples']) == 5
    assert (found / 'retrieval.json.gz-earlier-1').is_file()


def test_a_failed_training_costs_itself_alone(study, trainer, tmp_path):
    trainer.codes['clip/seed0'] = 7
    lines = []
    runner = run(study, tmp_path / 'work', lines)
    (failure,) = runner.failures
    assert str(failure) == (
        'CLIP, seed 0: training: training ended with code 7'
    )
    assert failure.lines == ('first', 'last words')
    assert len(trainer.started) == 3
    assert any('FAILED CLIP, seed 0' in line for line in lines)
    trainer.codes.clear()
    assert run(study, tmp_path / 'work').failures == []
    # It goes on where it was.
    assert trainer.started[3:] == ['clip/seed0']
    assert '--resume' in trainer.commands[3]


def test_a_failed_task_costs_itself_alone(
    study, trainer, tmp_path, monkeypatch
):
    def fail(self, model, progress=None):
        raise RuntimeError('no such thing')

    monkeypatch.setattr(Pointing, 'run', fail)
    runner = run(study, tmp_path / 'work')
    said = [str(failure) for failure in runner.failures]
    assert said[0] == 'CLIP, seed 0: pointing: RuntimeError: no such thing'
    assert len(said) == 3
    results = tmp_path / 'work/clip/seed0/results'
    assert (results / 'retrieval.json.gz').is_file()
    assert 'Traceback' in (results / 'pointing.log').read_text()


def test_a_mistake_of_ours_costs_its_arm_alone(
    study, trainer, tmp_path, monkeypatch
):
    def full(path, sheet):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(running, 'write_sheet', full)
    runner = run(study, tmp_path / 'work')
    assert [failure.what for failure in runner.failures] == ['study'] * 3
    assert 'No space left' in runner.failures[0].why


def test_several_at_once(study, trainer, tmp_path, monkeypatch):
    """Two trainings overlap, tasks never do, and threads are shared out."""
    both, most, now = threading.Barrier(2, timeout=30), [0], [0]
    # Both first seeds must be in training before either goes on.
    train = trainer.__class__.__call__

    def together(self, folder, tell, threads=None, stop=None):
        if folder.name == 'seed0':
            both.wait()
        return train(self, folder, tell, threads, stop)

    measured = running.measure

    def alone(*given):
        now[0] += 1
        most[0] = max(most[0], now[0])
        found = measured(*given)
        now[0] -= 1
        return found

    monkeypatch.setattr(trainer.__class__, '__call__', together)
    monkeypatch.setattr(running, 'measure', alone)
    monkeypatch.setattr(running.torch, 'get_num_threads', lambda: 6)
    chosen = []
    monkeypatch.setattr(running.torch, 'set_num_threads', chosen.append)
    runner = run(study, tmp_path / 'work', jobs=2)
    assert runner.failures == []
    assert trainer.threads == [3, 3, 3]
    assert most == [1]
    assert chosen == [3, 6]


@pytest.mark.parametrize('jobs', [1, 2])
def test_stopping_ends_what_is_in_work(
    study, trainer, tmp_path, monkeypatch, jobs
):
    """The task is told to stop at its next chunk; nothing else begins."""
    runner = runner_of(study, tmp_path / 'work', jobs=jobs)

    def interrupted(task, model, progress):
        runner._stop.set()
        progress('pictures', 1, 2)
        raise AssertionError('went on')

    monkeypatch.setattr(running, 'measure', interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run(runner.study.units)
    assert runner.failures == []
    assert len(trainer.started) <= jobs
    sheets = (tmp_path / 'work').rglob('*.json.gz')
    assert list(sheets) == []


def test_finished_models_are_measured_alone(trainer, tmp_path):
    (tmp_path / 'theirs').mkdir()
    (tmp_path / 'theirs' / 'model.safetensors').touch()
    theirs = f"arms += [dict(name='Theirs', checkpoint='{tmp_path}/theirs')]"
    path = write_study(tmp_path, STUDY + theirs)
    runner = run(path, tmp_path / 'work')
    assert runner.failures == []
    assert len(trainer.started) == 3
    found = tmp_path / 'work/theirs/seed0/results/retrieval.json.gz'
    assert read_sheet(found)['metrics']['i2t_r10'] > 0


def test_a_finished_model_that_is_gone_stays_measured(trainer, tmp_path):
    model, work = tmp_path / 'theirs', tmp_path / 'work'
    model.mkdir()
    weights = model / 'model.safetensors'
    weights.write_text('first')
    theirs = f"arms = [dict(name='Theirs', checkpoint='{model}')]"
    path = write_study(tmp_path, STUDY + theirs)
    sheet = work / 'theirs/seed0/results/retrieval.json.gz'
    run(path, work)
    before = sheet.stat().st_mtime_ns
    shutil.rmtree(model)
    run(path, work)
    assert sheet.stat().st_mtime_ns == before
    # Another one in its place is another model; nothing is not enough.
    model.mkdir()
    weights.write_text('second')
    run(path, work)
    assert sheet.stat().st_mtime_ns > before
    elsewhere = write_study(tmp_path, STUDY + theirs.replace(str(model), 'no'))
    with pytest.raises(UserError, match='there is no model at no'):
        run(elsewhere, work)


def test_arms_that_are_measured_differently_are_compared(
    trainer, tmp_path, monkeypatch
):
    """The same samples in two ways have a difference with an interval."""
    monkeypatch.setattr(metrics, 'FEWEST', 2)
    more = (
        "arms[1]['tasks'] = dict(\n"
        '    retrieval=dict(captions_per_image=1), pointing=None)\n'
    )
    path = write_study(tmp_path, STUDY + more)
    runner = run(path, tmp_path / 'work')
    assert runner.failures == []
    write_report(runner.study, tmp_path / 'work', tmp_path / 'out', ROOT, [])
    report = json.loads((tmp_path / 'out/results.json').read_text())
    assert report['missing'] == []
    found = report['arms']['SPARC']
    assert list(found['metrics']) == ['retrieval']
    assert found['tasks']['pointing'] is None
    assert found['metrics']['retrieval']['i2t_r1']['difference']['interval']
    said = (tmp_path / 'out/page.md').read_text()
    assert "retrieval with `{'captions_per_image': 1}`" in said
    assert 'pointing: not measured' in said
    lines = []
    run(path, tmp_path / 'work', lines)
    assert 'SPARC, seed 0: done; 2 of 3' in lines
