"""The data rate is that of the same pictures, wherever they are kept."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import data_rate, tables
from benchmarks.data_layouts import pack, write_photos
from benchmarks.shard_index import index_cost, pretend_shards
from sparc_vlm.datasets import CaptionTokenizer
from sparc_vlm.datasets.report import new_report
from sparc_vlm.datasets.shards import find_shards, read_shard
from sparc_vlm.registry import DATASETS


def test_layouts_hold_the_same_pictures(tmp_path):
    drawn = []
    write_photos(tmp_path / 'made', 5, (48, 64), 0, lambda: drawn.append(1))
    assert len(drawn) == 5
    layouts = pack(tmp_path / 'made')
    folder, packed = (
        DATASETS.build(layouts[name]) for name in ('folder', 'zip')
    )
    shards = find_shards(layouts['shards']['shards'])
    samples = [s for shard in shards for s in read_shard(shard, new_report())]
    assert len(folder) == len(packed) == len(samples) == 5
    for index, sample in enumerate(samples):
        picture = folder.image(index)
        assert picture.size == (64, 48)
        assert np.asarray(picture).std() > 5
        assert folder.file(index)[1] == packed.file(index)[1] == sample.image
        captions = folder.captions(index)
        assert len(captions) == 5
        assert captions == packed.captions(index) == sample.captions


def test_batches_made_ahead_are_not_counted():
    class Loader:
        drawn = 0

        def __iter__(self):
            while True:
                self.drawn += 1
                if self.drawn > 1 + data_rate.AHEAD:
                    time.sleep(0.02)
                yield dict(images=[0] * 3)

    loader = Loader()
    rate = data_rate.pairs_per_second(loader, 4)
    assert loader.drawn == 1 + data_rate.AHEAD + 4
    assert 0 < rate <= 3 / 0.02


def test_many_shards_hold_next_to_no_memory(tmp_path):
    pattern = pretend_shards(tmp_path / 'shards', 10_000)
    found = index_cost(pattern, CaptionTokenizer.train(['a caption']))
    assert found['shards'] == 10_000
    assert found['pairs'] == 10_000_000
    assert found['held_bytes'] < 2**20
    assert found['traced_peak_bytes'] < 20 * 2**20


def test_training_of_the_same_image_size_counts(tmp_path):
    path = tmp_path / 'train_step.json'
    sizes = {
        size: dict(config=config, sides=dict(SPARC=dict(pairs_per_second=9.0)))
        for size, config in (
            ('vitb16', 'sparc_vitb16.py'),
            ('vittiny', 'sparc_vittiny_scenes.py'),
        )
    }
    path.write_text(json.dumps(dict(sizes=sizes)))
    args = argparse.Namespace(
        train=path, image_size=224, train_pairs_per_second=None
    )
    assert data_rate.training_rates(args) == dict(vitb16=9.0)
    args.train_pairs_per_second = 4.0
    assert data_rate.training_rates(args) == dict(given=4.0)


@pytest.mark.parametrize(
    'arguments',
    [['--data', 'coco:/not/there'], ['--train', '/not/there.json']],
)
def test_what_is_missing_is_said_at_the_start(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['data_rate.py', *arguments])
    with pytest.raises(SystemExit):
        data_rate.parse()
    assert '/not/there' in capsys.readouterr().err


@pytest.mark.parametrize('crop', [None, 0.6])
def test_own_data_are_read_where_they_are(tmp_path, crop):
    write_photos(tmp_path / 'made', 4, (48, 64), 0, lambda: None)
    args = argparse.Namespace(image_size=16, crop=crop, batch=2, seed=0)
    for config in pack(tmp_path / 'made').values():
        loader = data_rate.build_loader(config, args)
        assert loader.num_workers == 1
        iterator = iter(loader)
        batch = next(iterator)
        iterator.close()
        assert batch['images'].shape == (2, 3, 16, 16)
        assert batch['report']['pairs'] == 2


def test_the_script_runs(tmp_path):
    out = tmp_path / 'rate.json'
    sizes = '--pictures 12 --size 48 64 --image-size 16 --batch 4 --batches 2'
    rest = '--rounds 2 --shards 30 --train-pairs-per-second 5 --out'
    command = [sys.executable, data_rate.__file__, *sizes.split()]
    done = subprocess.run(
        [*command, *rest.split(), str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert set(report['layouts']) == {'folder', 'zip', 'shards'}
    for layout in report['layouts'].values():
        assert len(layout['pairs_per_second']) == 2
        assert min(layout['pairs_per_second']) > 0
    assert report['index']['shards'] == 30
    assert 0 < report['kilobytes_per_picture'] < 20
    assert all(shown in done.stdout for shown in tables.tables(report))
