import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

import sparc_vlm
from sparc_vlm.study import arm
from tests.test_evaluation.colour_world import ColourModel
from tools import quickstart

RECIPE = """
train_cfg = dict(type='PretrainLoop', max_iters=1000, val_interval=200)
randomness = dict(seed=3)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=100),
    dict(type='CosineAnnealingLR', begin=100),
]
val_evaluator = [
    dict(type='Retrieval', dataset=dict(type='Scenes', split='val', size=32,
         num_images=1000)),
]
"""


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    """Two recipes, and everything that lies outside of the tool replaced."""
    monkeypatch.setattr(quickstart, 'ROOT', tmp_path)
    configs = {}
    for name in ('CLIP', 'SPARC'):
        configs[name] = tmp_path / f'{name.lower()}.py'
        configs[name].write_text(RECIPE)
    monkeypatch.setattr(quickstart, 'CONFIGS', configs)
    monkeypatch.setattr(quickstart, 'DRAWN', 1)
    monkeypatch.setattr(quickstart, 'FULL_UPDATES', 1000)
    monkeypatch.setattr(
        sparc_vlm,
        'load',
        lambda path: ColourModel(dense_shift=int('clip' in str(path))),
        raising=False,
    )
    return configs


def ended(code):
    """Stands in for a process that ended with an exit code."""
    return nullcontext(SimpleNamespace(wait=lambda: code))


class Trainer:
    """Stands in for the subprocess: notes its command, leaves a model."""

    def __init__(self):
        self.commands = []
        self.codes = {}

    def __call__(self, command, cwd):
        self.commands.append(command[2:])
        name = Path(command[2]).stem
        folder = Path(command[command.index('--work-dir') + 1])
        if self.codes.get(name):
            return ended(self.codes[name])
        (folder / 'model').mkdir(parents=True, exist_ok=True)
        log = folder / '20260101_000000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text('{"loss": 2.0, "step": 1}\n{"loss": 1.0, "step": 2}')
        return ended(0)

    @property
    def names(self):
        return [Path(command[0]).stem for command in self.commands]


@pytest.fixture
def trainer(monkeypatch):
    trainer = Trainer()
    monkeypatch.setattr(arm, 'subprocess', SimpleNamespace(Popen=trainer))
    return trainer


def run(folder, *arguments):
    return quickstart.main(
        ['--work-dir', str(folder), '--seconds', '60', *arguments]
    )


def test_both_are_trained_compared_and_written(
    recipes, trainer, tmp_path, capsys
):
    folder = tmp_path / 'out'
    assert run(folder) == 0
    assert trainer.names == ['clip', 'sparc']
    assert '--resume' not in trainer.commands[0]
    # The rest takes 55 seconds: the least is left, a hundredth of 1000.
    assert 'train_cfg.max_iters=10' in trainer.commands[0]
    assert 'train_cfg.val_interval=2' in trainer.commands[0]
    assert 'randomness.seed=0' in trainer.commands[0]
    few = 'val_evaluator.0.dataset.num_images=50'
    assert few in trainer.commands[0]
    printed = capsys.readouterr().out
    assert printed.count('chance') >= 1
    assert '50 held-out scenes' in printed
    assert 'SPARC is better than CLIP on' in printed
    assert 'NOT better' in printed
    found = json.loads((folder / 'results.json').read_text())
    assert found['seed'] == 0
    assert set(found['metrics']) == {'CLIP', 'SPARC'}
    assert 'max_iters=10' in found['config']['SPARC']
    assert 'torch' in found['versions']
    samples = json.loads((folder / 'samples.json').read_text())
    assert len(samples['CLIP'][0]['samples']) == 50
    assert '<table>' in (folder / 'index.html').read_text('utf-8')
    assert (folder / 'figures' / 'maps-0.png').is_file()


def test_what_is_trained_is_not_trained_again(
    recipes, trainer, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(quickstart, 'compare', lambda *_: None)
    folder = tmp_path / 'out'
    run(folder)
    run(folder)
    assert trainer.names == ['clip', 'sparc']
    assert 'already trained' in capsys.readouterr().out


def test_other_settings_are_trained_anew_and_the_old_kept(
    recipes, trainer, tmp_path, monkeypatch
):
    monkeypatch.setattr(quickstart, 'compare', lambda *_: None)
    folder = tmp_path / 'out'
    run(folder)
    run(folder, '--seed', '1')
    assert trainer.names == ['clip', 'sparc'] * 2
    assert '--resume' not in trainer.commands[2]
    assert (folder / 'clip-earlier-1' / 'model').is_dir()
    recipes['SPARC'].write_text(RECIPE + 'model = dict(width=2)\n')
    run(folder, '--seed', '1')
    assert trainer.names == ['clip', 'sparc'] * 2 + ['sparc']


def test_a_failed_arm_is_reported_and_resumed_next_time(
    recipes, trainer, tmp_path, capsys
):
    folder = tmp_path / 'out'
    trainer.codes['sparc'] = 7
    assert run(folder) == 1
    printed = capsys.readouterr().out
    assert 'SPARC FAILED: training ended with code 7' in printed
    assert 'Only CLIP was trained' in printed
    page = (folder / 'index.html').read_text('utf-8')
    assert 'SPARC failed: training ended with code 7' in page
    trainer.codes.clear()
    assert run(folder) == 0
    assert trainer.names == ['clip', 'sparc', 'sparc']
    assert '--resume' in trainer.commands[2]
    assert 'SPARC is better' in capsys.readouterr().out


def test_everything_failed(recipes, trainer, tmp_path):
    trainer.codes.update(clip=1, sparc=1)
    assert run(tmp_path / 'out') == 1
    assert not (tmp_path / 'out' / 'results.json').exists()


def test_training_without_a_model_is_a_failure(
    recipes, trainer, tmp_path, monkeypatch, capsys
):
    nothing = SimpleNamespace(Popen=lambda *_, **__: ended(0))
    monkeypatch.setattr(arm, 'subprocess', nothing)
    assert run(tmp_path / 'out') == 1
    assert 'left no model' in capsys.readouterr().out


def test_full_run_takes_what_there_is_time_for(recipes, monkeypatch):
    # A recipe that is shorter than that stays as it is.
    arms, pictures = quickstart.plan(quickstart.parse([]))
    assert pictures == quickstart.PICTURES
    assert arms[0].options == {'randomness.seed': 0}
    monkeypatch.setattr(quickstart, 'FULL_UPDATES', 300)
    arms, _ = quickstart.plan(quickstart.parse([]))
    assert arms[0].options['train_cfg.max_iters'] == 300


def test_steps_can_be_chosen(recipes):
    arms, _ = quickstart.plan(quickstart.parse(['--steps', '500']))
    assert arms[1].options == {
        'randomness.seed': 0,
        'train_cfg.max_iters': 500,
        'train_cfg.val_interval': 100,
        'param_scheduler.0.end': 50,
        'param_scheduler.1.begin': 50,
    }


def test_a_stop_is_no_traceback_and_waits_for_the_training(
    recipes, tmp_path, monkeypatch, capsys
):
    done = []

    def interrupted():
        if not done:
            done.append('wait')
            raise KeyboardInterrupt
        done.append('saved')

    process = SimpleNamespace(
        wait=interrupted, terminate=lambda: done.append('told')
    )
    started = SimpleNamespace(Popen=lambda *_, **__: nullcontext(process))
    monkeypatch.setattr(arm, 'subprocess', started)
    assert run(tmp_path / 'out') == quickstart.INTERRUPTED
    assert done == ['wait', 'told', 'saved']
    assert capsys.readouterr().err == 'interrupted; run it again to go on\n'


def test_a_folder_that_takes_no_files_is_a_sentence(
    recipes, trainer, tmp_path, capsys
):
    (tmp_path / 'out').write_text('')
    assert run(tmp_path / 'out') == quickstart.USAGE
    said = capsys.readouterr().err
    assert said.startswith(f'error: {tmp_path}/out cannot be written to')
    assert not trainer.commands


TINY = """
_base_ = '{base}'
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(source=dict(num_images=300)),
)
custom_hooks = [
    dict(
        type='AlignmentMapHook',
        dataset=dict(type='Scenes', split='val', size=64, num_images=1),
        indices=[0],
    )
]
"""


def test_the_real_thing_on_a_tiny_recipe(tmp_path, monkeypatch, capfd):
    """Nothing replaced: training, loading, measuring, drawing."""
    configs = {}
    for name, path in quickstart.CONFIGS.items():
        configs[name] = tmp_path / path.name
        configs[name].write_text(TINY.format(base=path))
    monkeypatch.setattr(quickstart, 'CONFIGS', configs)
    monkeypatch.setattr(quickstart, 'DRAWN', 1)
    folder = tmp_path / 'out'
    code = run(folder, '--steps', '2')
    printed = capfd.readouterr()
    assert code == 0, printed.out[-3000:] + printed.err[-3000:]
    found = json.loads((folder / 'results.json').read_text())
    for values in found['metrics'].values():
        assert all(0 <= value <= 100 for value in values.values())
    from sparc_vlm.visualization.curves import read_scalars

    scalars = read_scalars(folder / 'sparc')
    assert list(scalars['retrieval/i2t_r1'])[-1] == 2
    assert (folder / 'sparc' / 'maps' / '2' / '0.png').is_file()
    assert run(folder, '--steps', '2') == 0
    assert capfd.readouterr().out.count('already trained') == 3


def test_no_step_is_a_mistake(tmp_path, capsys):
    assert run(tmp_path / 'out', '--steps', '0') == quickstart.USAGE
    assert '--steps must be at least 1, got 0' in capsys.readouterr().err
