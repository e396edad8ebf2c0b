"""MMDetection's own ways to look at a picture, with a detector by words."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector

from sparc_vlm.detection import LoadedDetector
from sparc_vlm.detection.export import inference_pipeline
from sparc_vlm.engine import load_config
from sparc_vlm.errors import UsageError
from tests.test_detection.tiny_detectors import picture
from tests.test_detection.words_made import tokenizer

FOLDER = Path(__file__).resolve().parents[2] / 'projects/detection/configs'
PROMPT, WORDS = 'Red_Box . a dog', ('red box', 'a dog')
pytestmark = pytest.mark.usefixtures('fresh')


@pytest.fixture
def cfg(tmp_path):
    """Of the recipe, none of whose data are there."""
    cfg = load_config(FOLDER / 'words_vitmini_scenes.py')
    cfg.model.encoders.tokenizer = dict(path=str(tokenizer(tmp_path)))
    return cfg


@pytest.fixture
def model(cfg):
    """With words of its own, one of which is asked for."""
    own = {'model.words': ['green box', 'red box']}
    return init_detector(cfg, device='cpu', cfg_options=own)


@pytest.fixture
def image(tmp_path):
    picture(size=(90, 70)).save(tmp_path / 'image.png')
    return str(tmp_path / 'image.png')


def assert_found(found, model, image, words):
    """That it is what our own way to look finds."""
    steps = inference_pipeline(model.cfg)[1:]
    detector = LoadedDetector(model, steps, ())
    (wanted,) = detector.detect([image], words, limit=model.limit)
    torch.testing.assert_close(found.bboxes, wanted.boxes)
    torch.testing.assert_close(found.scores, wanted.scores)
    assert found.labels.tolist() == wanted.labels.tolist()
    assert found.label_names == [words[at] for at in wanted.labels]
    assert {*found.label_names} == {*words}


@pytest.mark.parametrize('is_read', [False, True])
def test_a_picture_or_its_file_and_a_prompt(model, image, is_read):
    given = cv2.imread(image) if is_read else image
    found = inference_detector(model, given, text_prompt=PROMPT)
    assert_found(found.pred_instances, model, image, WORDS)
    own = inference_detector(model, given)
    assert_found(own.pred_instances, model, image, model.words)


def test_a_prompt_without_words(model, image):
    with pytest.raises(UsageError, match='lacks a word to look for'):
        inference_detector(model, image, text_prompt=' . ')


def test_the_inferencer(cfg, model, image, tmp_path):
    weights = str(tmp_path / 'weights.pth')
    torch.save(dict(state_dict=model.state_dict()), weights)
    look = DetInferencer(cfg, weights, 'cpu', show_progress=False)
    for given in (image, cv2.imread(image)):
        found = look(given, texts=PROMPT, return_datasamples=True)
        (sample,) = found['predictions']
        assert_found(sample.pred_instances, model, image, WORDS)
