from __future__ import annotations

import json

import numpy as np
import pytest

from sparc_vlm.datasets import (
    CocoCaptions,
    Scenes,
    ShardLoader,
    load_tokenizer,
)
from tests.test_datasets.made import write_karpathy
from tools.prepare_data import main


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
    assert main([*arguments, '--size', '64']) == 1


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
    assert main([*arguments[:-1], '50']) == 0
    assert 'it is kept' in capsys.readouterr().out
    assert load_tokenizer(words).vocab_size == tokenizer.vocab_size
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


def test_mistakes_are_one_sentence(tmp_path, capsys):
    assert main(['shards', 'coco:/nowhere', str(tmp_path)]) == 1
    assert 'no folder at /nowhere' in capsys.readouterr().out
    file = write_karpathy(tmp_path)
    arguments = [f'csv:{file}', str(tmp_path)]
    assert main(['tokenizer', *arguments]) == 1
    assert 'none is called' in ' '.join(capsys.readouterr().out.split())
