import json
import signal

import pytest

from sparc_vlm.study import read_sheet
from sparc_vlm.study import run as running
from tests.test_study.made import STUDY, stand_in, write_study
from tests.test_tools.test_train import scalars
from tools import compare

TINY = """
steps = 2
options = {
    'train_dataloader.batch_size': 8,
    'train_dataloader.num_workers': 0,
    'train_dataloader.dataset.source.num_images': 300,
    'val_evaluator.0.dataset.num_images': 8,
    'val_evaluator.1.dataset.num_images': 8,
    'custom_hooks.0.indices': [0],
    'tokenizer_training.max_captions': 60,
    'train_cfg.val_interval': 2,
}
arms = [
    dict(name='CLIP', config='configs/clip_vittiny_scenes.py'),
    dict(
        name='Words',
        config='configs/sparc_vittiny_scenes.py',
        options={'model.objective.words': True},
    ),
]
_test = dict(type='Scenes', split='test', size=64, num_images=8)
tasks = [
    dict(type='Retrieval', dataset=_test),
    dict(type='Segmentation', dataset=_test),
]
pictures = dict(dataset=_test, indices=[1])
"""


@pytest.fixture(autouse=True)
def signals():
    """The tool takes SIGTERM for itself."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def compare_in(folder, path, *more):
    return compare.main([str(path), '--work-dir', str(folder), *more])


def test_the_real_thing_on_a_tiny_study(tmp_path, capfd, monkeypatch):
    """Nothing replaced: two trainings at once, tasks, figures, a page."""
    path, work = write_study(tmp_path, TINY), tmp_path / 'work'
    assert compare_in(work, path, '--jobs', '2') == 0, capfd.readouterr()
    report = json.loads((work / 'results.json').read_text())
    assert list(report['arms']) == ['CLIP', 'Words']
    assert 'words=True' in report['arms']['Words']['config']
    for arm in report['arms'].values():
        assert arm['options']['train_cfg.max_iters'] == 2
        for metrics in arm['metrics'].values():
            assert all(0 <= m['mean'] <= 100 for m in metrics.values())
            # Every number has an interval.
            assert None not in [m['interval'] for m in metrics.values()]
    assert scalars(work / 'words' / 'seed0')[-1]['step'] == 2
    page = (work / 'page.html').read_text('utf-8')
    assert page.count('<table>') == 6
    assert page.count('data:image/png') == 2
    # A second call has nothing to train or measure.
    monkeypatch.setattr(running, 'LoggedLaunch', None)
    monkeypatch.setattr(running, 'measure', None)
    assert compare_in(work, path) == 0
    assert capfd.readouterr().out.count(': done; ') == 2
    # For others' eyes: curves and tables, but nothing of the data.
    plain = tmp_path / 'plain'
    more = ('--report', '--no-pictures', '--out', str(plain))
    assert compare_in(work, path, *more) == 0
    text = (plain / 'page.html').read_text('utf-8')
    assert text.count('data:image/png') == 1
    assert 'retrieved first' in page and 'retrieved first' not in text


@pytest.fixture
def trainer(monkeypatch):
    return stand_in(monkeypatch)


def test_a_failed_arm_is_reported_and_the_others_stand(
    trainer, tmp_path, capfd
):
    path, work = write_study(tmp_path), tmp_path / 'work'
    trainer.codes['sparc/seed0'] = 3
    out = tmp_path / 'out'
    assert compare_in(work, path, '--out', str(out)) == compare.FAILED
    printed = capfd.readouterr().out
    assert 'FAILED SPARC, seed 0: training: training ended with code 3' in (
        printed
    )
    assert 'last words' in printed
    assert 'FAILED: SPARC, seed 0' in (out / 'page.html').read_text('utf-8')
    assert not (work / 'page.html').exists()
    assert read_sheet(work / 'clip/seed1/results/pointing.json.gz')
    # The page alone, again.
    assert compare_in(work, path, '--out', str(out), '--report') == 0
    assert 'Not there: SPARC.' in (out / 'page.html').read_text('utf-8')
    assert len(trainer.started) == 3


def test_pictures_are_looked_for_before_any_work(trainer, tmp_path, capfd):
    more = "pictures = dict(dataset=tasks[0]['dataset'], indices=[6])\n"
    path = write_study(tmp_path, STUDY + more)
    assert compare_in(tmp_path / 'work', path) == compare.USAGE
    assert 'there is no picture 6' in capfd.readouterr().err
    assert trainer.started == []
    assert compare_in(tmp_path / 'work', path, '--no-pictures') == 0


def test_some_arms_alone(trainer, tmp_path, capfd):
    path, work = write_study(tmp_path), tmp_path / 'work'
    assert compare_in(work, path, '--only', 'SPARC') == 0
    assert trainer.started == ['sparc/seed0']
    assert 'Not there: CLIP.' in (work / 'page.html').read_text('utf-8')


def test_nothing_there_yet(tmp_path, capfd):
    path = write_study(tmp_path)
    assert compare_in(tmp_path, path, '--report') == compare.FAILED
    assert 'nothing is trained and measured yet' in capfd.readouterr().err


@pytest.mark.parametrize(
    ('module', 'work'), [(running, 'measure'), (compare, 'write_report')]
)
def test_an_interrupt_is_no_error(
    module, work, tmp_path, capfd, monkeypatch, trainer
):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, work, interrupt)
    path = write_study(tmp_path)
    assert compare_in(tmp_path / 'work', path) == compare.INTERRUPTED
    assert 'run it again to go on' in capfd.readouterr().err


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        (['--jobs', '0'], '--jobs must be at least 1, got 0'),
        (['--only', 'SPARK'], 'did you mean SPARC'),
        (['--out', __file__], 'test_compare.py cannot be written to'),
        (['--work-dir', __file__], 'test_compare.py cannot be written to'),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capfd, more, said):
    path = write_study(tmp_path)
    assert compare_in(tmp_path / 'work', path, *more) == compare.USAGE
    printed = capfd.readouterr()
    assert printed.err.startswith('error: ')
    assert said in printed.err
    assert printed.err.count('\n') == 1
    assert compare_in(tmp_path, tmp_path / 'no.py') == compare.USAGE
