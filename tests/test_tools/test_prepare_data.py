from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparc_vlm.datasets import (
    CocoCaptions,
    Scenes,
    ShardLoader,
    load_tokenizer,
)
from tests.test_datasets.made import write_karpathy
from tools.prepare_data import INTERRUPTED, main


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drawn')
    for split, count in (('train', '30'), ('val', '6')):
        arguments = [str(folder), '--split', split, '--num-images', count]
        assert main(['scenes', *arguments, '--size', '48']) == 0
    return folder


def test_scenes_on_disk_are_the_scenes(drawn):
    source = CocoCaptions(
        drawn / 'annotations/captions_val.json',
        drawn / 'images_val',
        drawn / 'annotations/instances_val.json',
    )
    scenes = Scenes('val', size=48, num_images=6)
    assert len(source) == 6
    for index in range(6):
        assert source.captions(index) == scenes.captions(index)
        pixels = np.asarray(source.image(index))
        assert np.array_equal(pixels, np.asarray(scenes.image(index)))
        boxes = [
            {'name': box['name'], 'box': box['box']}
            for box in scenes.boxes(index)
        ]
        assert source.boxes(index) == boxes
        labels, names = source.segments(index)
        expected, known = scenes.segments(index)
        assert set(names) == set(known)
        for number, name in enumerate(names, 1):
            wanted = expected == known.index(name) + 1
            assert np.array_equal(labels == number, wanted)


def test_scenes_are_not_drawn_again(drawn):
    path = drawn / 'images_val/00000003.png'
    lost = drawn / 'images_val/00000004.png'
    written, data = path.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    arguments = ['scenes', str(drawn), '--split', 'val', '--num-images', '6']
    assert main([*arguments, '--size', '48']) == 0
    assert path.stat().st_mtime_ns == written
    assert lost.read_bytes() == data
    assert main([*arguments, '--size', '64']) == 2


def test_tokenizer_and_shards(drawn, tmp_path, capsys):
    words, out = str(tmp_path / 'words'), str(tmp_path / 'out')
    arguments = ['tokenizer', f'coco:{drawn}', words, '--vocab-size', '200']
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert 'training on 150 captions' in printed
    assert 'tokens per caption: mean' in printed
    tokenizer = load_tokenizer(words)
    assert tokenizer.vocab_size <= 200
    # Checkpoints depend on it: another run does not replace it.
    assert main(arguments) == 0
    assert 'it is kept' in capsys.readouterr().out
    for other, said in (
        ([*arguments[:-1], '50'], 'vocab_size 200 instead of 50'),
        ([*arguments, '--max-length', '9'], 'max_length 55 instead of 9'),
        (['tokenizer', 'scenes', *arguments[2:]], 'pictures 30 instead of'),
    ):
        assert main(other) == 2
        assert said in capsys.readouterr().out
    assert load_tokenizer(words).vocab_size == tokenizer.vocab_size
    # One that this tool did not make: what can be known is compared.
    (tmp_path / 'words/made_of.json').unlink()
    assert main([*arguments[:-1], '900']) == 0
    assert main([*arguments[:-1], '5']) == 2
    capsys.readouterr()
    arguments = ['shards', f'coco:{drawn}', out, '--per-shard', '8']
    for _ in range(2):
        assert main([*arguments, '--tokenizer', words]) == 0
        printed = ' '.join(capsys.readouterr().out.split())
        assert 'pictures: 30, captions: 150, broken images: 0' in printed
        assert 'shards: 4' in printed and 'tokens per caption' in printed
        assert '{000000..000003}.tar' in printed.replace(' ', '')
    loader = ShardLoader(out, tokenizer, 5, image_size=48)
    assert loader.pairs_per_epoch == 30
    assert next(iter(loader))['images'].shape == (5, 3, 48, 48)


def test_broken_pictures_are_told(tmp_path, capsys):
    file = write_karpathy(tmp_path)
    (tmp_path / 'images/1.png').write_bytes(b'broken')
    content = json.loads(file.read_text())
    del content['images'][2]['filename']
    file.write_text(json.dumps(content))
    out = str(tmp_path / 'out')
    assert main(['shards', f'karpathy:{file}', out]) == 0
    printed = ' '.join(capsys.readouterr().out.split())
    assert 'skipped rows: 1' in printed and 'no filename' in printed
    assert 'pictures: 1, captions: 2, broken images: 1' in printed


def test_a_killed_training_is_done_again(drawn, tmp_path, monkeypatch):
    arguments = ['tokenizer', f'coco:{drawn}', str(tmp_path)]
    real = os.replace

    def killed(old, new):
        if new.name == 'tokenizer.json':
            raise KeyboardInterrupt
        real(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, 'replace', killed)
        stopped = main([*arguments, '--vocab-size', '300'])
    assert stopped == INTERRUPTED
    assert main([*arguments, '--vocab-size', '60']) == 0
    assert load_tokenizer(tmp_path).vocab_size <= 60


def test_tokens_of_scenes_are_counted(drawn, tmp_path, capsys):
    arguments = ['scenes', str(drawn), '--num-images', '30', '--size', '48']
    assert main(arguments) == 0
    assert 'add --tokenizer FOLDER' in capsys.readouterr().out
    words = str(tmp_path)
    assert main(['tokenizer', f'coco:{drawn}', words]) == 0
    capsys.readouterr()
    assert main([*arguments, '--tokenizer', words]) == 0
    assert 'tokens per caption: mean' in capsys.readouterr().out


def test_a_full_disk_is_one_sentence(drawn, tmp_path, monkeypatch, capsys):
    def full(file):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    arguments = [f'coco:{drawn}', str(tmp_path / 'out')]
    for command in ('tokenizer', 'shards'):
        assert main([command, *arguments]) == 2
        printed = capsys.readouterr().out
        assert 'error: No space left on device\n' in printed


@pytest.mark.parametrize(
    ('command', 'option'),
    [('shards', '--per-shard'), ('tokenizer', '--vocab-size')],
)
def test_a_size_of_nothing_is_one_sentence(command, option, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, 'scenes', str(tmp_path), option, '0'])
    assert left.value.code == 2
    assert f'{option}: must be 1 or more, got 0' in capsys.readouterr().err


def test_runs_from_anywhere_without_an_install(tmp_path):
    tool = Path(__file__).resolve().parents[2] / 'tools/prepare_data.py'
    done = subprocess.run(
        [sys.executable, str(tool), '--help'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': ''},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert 'write tar shards' in done.stdout


def test_mistakes_are_one_sentence(tmp_path, capsys):
    missing = str(tmp_path / '[none]')
    assert main(['shards', f'coco:{missing}', str(tmp_path)]) == 2
    assert f'no folder at {missing}' in capsys.readouterr().out
    assert main(['shards', 'coco:/nowhere', str(tmp_path)]) == 2
    assert 'no folder at /nowhere' in capsys.readouterr().out
    file = write_karpathy(tmp_path)
    arguments = [f'csv:{file}', str(tmp_path)]
    assert main(['tokenizer', *arguments]) == 2
    assert 'none is called' in ' '.join(capsys.readouterr().out.split())


def test_ctrl_c_is_no_traceback(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('tools.prepare_data.export_scenes', interrupted)
    arguments = ['scenes', str(tmp_path), '--num-images', '2']
    assert main(arguments) == 130
    assert 'run it again to go on' in capsys.readouterr().out


def test_a_part_of_a_folder_in_cocos_layout(drawn, tmp_path, capsys):
    arguments = ['part', str(drawn), str(tmp_path), '--split', 'train']
    arguments += ['--name', 'val', '--longer-side', '24', '--skip', '10']
    assert main([*arguments, '--num-images', '20']) == 0
    assert 'pictures: 20' in capsys.readouterr().out
    source = CocoCaptions(
        tmp_path / 'annotations/captions_val.json',
        tmp_path / 'images_val.zip',
        tmp_path / 'annotations/instances_val.json',
    )
    assert len(source) == 20
    assert source.image(0).size == (24, 24)
    assert main([*arguments, '--num-images', '21']) == 2
    assert 'error: ' in capsys.readouterr().out
