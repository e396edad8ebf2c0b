"""What an arm starts from decides whether it is done, as its recipe does."""

import json
import os
import shutil

import pytest

from sparc_vlm.errors import UserError
from sparc_vlm.study.fingerprints import (
    fingerprint,
    same_starts,
    starts_of,
    weight_files,
)
from tests.test_study.made import STUDY, read_whole, run, write_study

START = """
for _arm in arms:
    _arm['options'] = dict(load_from='{}/seed{{seed}}.pth')
"""


@pytest.fixture
def path(tmp_path):
    """A study whose arms begin with what is at a path."""
    for seed in (0, 1):
        (tmp_path / f'seed{seed}.pth').write_text('early')
    return write_study(tmp_path, STUDY + START.format(tmp_path))


@pytest.mark.parametrize('name', ['weights.bin', 'weights.pt', 'w.pth'])
def test_weights_in_files_of_other_kinds_are_told_apart(tmp_path, name):
    (tmp_path / name).write_bytes(b'a')
    first = fingerprint(tmp_path)
    (tmp_path / name).write_bytes(b'b')
    assert fingerprint(tmp_path) != first
    # Where there are safetensors, they are the model.
    (tmp_path / 'model').mkdir()
    (tmp_path / 'model/model.safetensors').write_bytes(b'c')
    second = fingerprint(tmp_path)
    (tmp_path / name).write_bytes(b'd')
    assert fingerprint(tmp_path) == second


def test_weights_that_options_name(tmp_path):
    file, model = tmp_path / 'a.pth', tmp_path / 'run' / 'model'
    model.mkdir(parents=True)
    file.write_bytes(b'a')
    (model / 'model.safetensors').write_bytes(b'b')
    (tmp_path / 'empty').mkdir()
    found = starts_of(
        {
            'load_from': str(file),
            'model.eyes.checkpoint': str(model),
            'model.init_cfg.checkpoint': str(tmp_path / 'run'),
            'model.backbone.checkpoint': str(tmp_path / 'empty'),
            'model.neck.checkpoint': 'open_clip:ViT-B-32',
            'model.vision.checkpoint': None,
            'train_cfg.max_iters': 3,
            'data_root': str(file),
        }
    )
    assert found == {
        'load_from': fingerprint(file),
        'model.eyes.checkpoint': fingerprint(model),
        'model.init_cfg.checkpoint': fingerprint(model),
    }
    assert fingerprint(file) != fingerprint(model)
    assert weight_files(tmp_path / 'nowhere') == ()
    # What a disk is read for once is read again when it has changed.
    file.write_bytes(b'another')
    assert starts_of({'load_from': str(file)}) == {
        'load_from': fingerprint(file)
    }


def test_what_is_not_known_is_no_difference():
    assert same_starts({}, {'a': '1'})
    assert same_starts({'a': '1'}, {})
    assert same_starts({'a': '1', 'b': '2'}, {'a': '1', 'c': '3'})
    assert not same_starts({'a': '1'}, {'a': '2'})


def test_an_arm_whose_start_was_trained_anew_begins_again(
    path, trainer, tmp_path
):
    run(path, tmp_path / 'work')
    (tmp_path / 'seed0.pth').write_text('trained anew')
    lines = []
    run(path, tmp_path / 'work', lines)
    assert trainer.started[3:] == ['clip/seed0', 'sparc/seed0']
    assert '--resume' not in trainer.commands[3]
    (said,) = (line for line in lines if line.startswith('CLIP, seed 0: what'))
    assert said == (
        'CLIP, seed 0: what it starts from has changed; moved to '
        f'{tmp_path}/work/clip/seed0-earlier-1'
    )
    # The same bytes written again, such as a copy, are no change.
    os.utime(tmp_path / 'seed1.pth', (1, 1))
    run(path, tmp_path / 'work')
    assert len(trainer.started) == 5


def test_what_was_done_before_starts_were_noted_is_done(
    path, trainer, tmp_path
):
    run(path, tmp_path / 'work')
    notes = list((tmp_path / 'work').glob('*/seed*/arm.json'))
    assert len(notes) == 3
    for note in notes:
        told = json.loads(note.read_text())
        assert set(told['settings'].pop('starts')) == {'load_from'}
        note.write_text(json.dumps(told))
    run(path, tmp_path / 'work')
    assert len(trainer.started) == 3


def test_what_was_done_stays_done_where_its_start_is_gone(
    path, trainer, tmp_path
):
    runner = run(path, tmp_path / 'work')
    for file in tmp_path.glob('seed*.pth'):
        file.unlink()
    for model in (tmp_path / 'work').glob('*/seed*/model'):
        shutil.rmtree(model)
    runner.run(runner.study.units)
    assert len(trainer.started) == 3
    read_whole(path, tmp_path / 'work')
    with pytest.raises(UserError, match=r'seed0\.pth'):
        read_whole(path, tmp_path / 'other_work')
