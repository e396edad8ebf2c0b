"""tools/detect.py: pictures in, drawn pictures, JSON and a line each out."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from sparc_vlm import detection
from tests.test_detection.test_loading_words import saved
from tests.test_detection.tiny_detectors import (
    CLASSES,
    picture,
    save,
)
from tests.test_study.made import save_model
from tools import detect as tool


@pytest.fixture(scope='module')
def words(tmp_path_factory):
    """A detector by words."""
    return str(saved(tmp_path_factory.mktemp('words'))[1])


@pytest.fixture(scope='module')
def classes(tmp_path_factory):
    """A detector of classes, with masks."""
    return str(save('mask_rcnn', tmp_path_factory.mktemp('classes')))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'a.png'
    picture(size=(64, 48)).save(path)
    return str(path)


def test_words_on_a_picture(words, image, tmp_path, capfd):
    out = tmp_path / 'new' / 'out'
    given = [words, image, '--words', 'red ball, Dog,dog', '--limit', '4']
    assert tool.main([*given, '--threshold', '0', '--out', str(out)]) == 0
    printed = capfd.readouterr()
    assert printed.out.startswith(f'{image}: 4 found, ')
    assert printed.out.endswith(f' -> {out}/a.png\n')
    sheet = json.loads((out / 'a.json').read_text())
    assert sheet['image'] == image
    assert sheet['size'] == [64, 48]
    assert sheet['words'] == ['red ball', 'dog']
    detector = detection.load(words)
    (found,) = detector.detect([image], ['red ball', 'dog'], 4)
    for row, score, box, label in zip(
        sheet['detections'],
        found.scores.tolist(),
        found.boxes.tolist(),
        found.labels.tolist(),
        strict=True,
    ):
        assert row['name'] == ('red ball', 'dog')[label]
        assert row['score'] == pytest.approx(score, abs=1e-4)
        assert row['box'] == pytest.approx(box, abs=0.01)
        assert row.keys() == {'name', 'score', 'box'}
    # The tiny picture is drawn large, and there is something on it.
    drawn = Image.open(out / 'a.png')
    assert drawn.size == (512, 384)
    plain = picture(size=(64, 48)).resize((512, 384), Image.Resampling.NEAREST)
    changed = (np.asarray(drawn) != np.asarray(plain)).any(-1).mean()
    assert 0.01 < changed < 0.9


def test_boxes_of_one_word_that_overlap(words, image, tmp_path, capfd):
    given = [words, image, '--words', 'dog,ball', '--threshold', '0']
    found = {}
    for name, more in (('all', []), ('some', ['--nms', '0.05'])):
        out = tmp_path / name
        assert tool.main([*given, *more, '--out', str(out)]) == 0
        rows = json.loads((out / 'a.json').read_text())['detections']
        found[name] = {
            word: torch.tensor([r['box'] for r in rows if r['name'] == word])
            for word in ('dog', 'ball')
        }
    overlap = {
        name: max(box_iou(own, own).triu(1).max() for own in words.values())
        for name, words in found.items()
    }
    assert overlap['some'] <= 0.05 < overlap['all']


def test_the_classes_of_a_detector(classes, image, tmp_path, capfd):
    given = [classes, image, '--threshold', '0', '--out', str(tmp_path / 'x')]
    assert tool.main([*given, '--limit', '7']) == 0
    assert ': 7 found, ' in capfd.readouterr().out
    sheet = json.loads((tmp_path / 'x' / 'a.json').read_text())
    assert sheet['words'] is None
    assert {row['name'] for row in sheet['detections']} <= set(CLASSES)
    assert sheet['detections'][0]['mask']['size'] == [48, 64]


def test_nothing_above_the_threshold(classes, image, tmp_path, capfd):
    out = tmp_path / 'x'
    assert (
        tool.main([classes, image, '--threshold', '1', '--out', str(out)]) == 0
    )
    said = capfd.readouterr().out
    assert re.search(
        r': nothing found at 1.0 or above \(best: .* 0\.\d\d.*\) -> ', said
    )
    assert json.loads((out / 'a.json').read_text())['detections'] == []
    assert (out / 'a.png').is_file()


def test_a_broken_picture_does_not_stop_the_others(
    classes, image, tmp_path, capfd
):
    broken, other = tmp_path / 'b.png', tmp_path / 'sub' / 'a.jpg'
    broken.write_bytes(b'no picture')
    other.parent.mkdir()
    picture(3).save(other)
    images = [str(broken), str(tmp_path / 'no.png'), image, str(other)]
    out = tmp_path / 'out'
    assert tool.main([classes, *images, '--out', str(out)]) == tool.FAILED
    printed = capfd.readouterr()
    assert printed.out.count('\n') == 2
    assert printed.err.splitlines() == [
        f'error: {broken}: not a picture in any known format',
        f'error: {images[1]}: No such file or directory',
        '2 of 4 pictures could not be read',
    ]
    # Two pictures of one name do not lie upon each other.
    assert sorted(path.name for path in out.iterdir()) == [
        'a-2.json',
        'a-2.png',
        'a.json',
        'a.png',
    ]
    assert tool.main([classes, str(broken)]) == tool.FAILED
    assert capfd.readouterr().err.count('\n') == 1


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        (['--words', 'dog'], 'finds its own classes only (red circle, '),
        (['--words', ' , '], "write --words 'red ball,dog'"),
        (['--limit', '0'], '--limit must be at least 1, got 0'),
        (['--nms', '0'], '--nms must be above 0 and at most 1, got 0.0'),
        (['--nms', '0.5'], '--nms is for a detector by words'),
        (['--threshold', '30'], '--threshold lies between 0 and 1'),
        (['--device', 'gpu'], "the device 'gpu' here: choose cpu"),
    ],
)
def test_mistakes_are_one_sentence(classes, image, capfd, more, said):
    assert tool.main([classes, image, *more]) == tool.USAGE
    printed = capfd.readouterr()
    assert printed.err.startswith('error: ')
    assert said in printed.err
    assert printed.err.count('\n') == 1
    assert printed.out == ''


def test_models_that_cannot_be_taken(words, image, tmp_path, capfd):
    ours = save_model(tmp_path)
    for model, said in (
        (tmp_path / 'no', f'there is no {tmp_path}/no'),
        (ours, 'of a model: load it with sparc_vlm.load'),
        (words, 'must be told what to look for'),
    ):
        assert tool.main([str(model), image]) == tool.USAGE
        printed = capfd.readouterr().err
        assert said in printed
        assert printed.count('\n') == 1


def test_a_picture_is_not_drawn_over(classes, image, tmp_path, capfd):
    before = (tmp_path / 'a.png').read_bytes()
    given = [classes, image, '--out', str(tmp_path)]
    assert tool.main(given) == tool.USAGE
    assert 'name another folder with --out' in capfd.readouterr().err
    assert (tmp_path / 'a.png').read_bytes() == before
    # Nor by what is found on another.
    other = tmp_path / 'a.jpg'
    picture(3).save(other)
    given = [classes, str(other), image, '--out', str(tmp_path)]
    assert tool.main(given) == tool.USAGE
    assert (tmp_path / 'a.png').read_bytes() == before


def test_a_folder_that_cannot_be_written_to(classes, image, tmp_path, capfd):
    (tmp_path / 'file').touch()
    given = [classes, image, '--out', str(tmp_path / 'file' / 'out')]
    assert tool.main(given) == tool.USAGE
    assert 'a.png cannot be written: Not a directory' in (
        capfd.readouterr().err
    )
