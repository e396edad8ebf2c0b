"""Pages are served for real, and asked as a browser asks them."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import sparc_vlm
from sparc_vlm import captioning, demo, detection
from sparc_vlm.errors import UserError
from sparc_vlm.registry import MODELS
from sparc_vlm.visualization.boxes import draw_boxes
from tests.test_captioning.tiny_captioner import captioner_cfg
from tests.test_captioning.tiny_language import save_language
from tests.test_detection.test_loading_words import saved
from tests.test_detection.tiny_detectors import save
from tests.test_study.made import save_model

SENTENCE = 'a red dog'


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp('picture') / 'a.png'
    values = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def serve():
    """Serves pages; a client for each."""
    pages = []

    def start(*given):
        pages.append(demo.build_page(*given))
        return Client(demo.launch(pages[-1]), verbose=False)

    yield start
    for page in pages:
        page.close()


def ask(client, picture, *inputs):
    given = handle_file(str(picture)) if picture else None
    return client.predict(given, *inputs, api_name=f'/{demo.NAME}')


def pixels(path):
    return np.asarray(Image.open(path).convert('RGB'))


def test_words_of_a_sentence(serve, picture, tmp_path):
    folder = str(save_model(tmp_path))
    client = serve(folder)
    model = sparc_vlm.load(folder)
    wanted = demo.look_at_words(model, Image.open(picture), SENTENCE)
    assert np.array_equal(pixels(ask(client, picture, SENTENCE)), wanted)
    with pytest.raises(AppError, match='write a sentence'):
        ask(client, picture, ' ')
    with pytest.raises(AppError, match='give a picture first'):
        ask(client, None, SENTENCE)


def test_what_a_captioner_writes(serve, picture, tmp_path):
    language = save_language(tmp_path / 'language')
    eyes = dict(type='SparcEyes', checkpoint=str(save_model(tmp_path)))
    cfg = captioner_cfg(language, eyes=eyes)
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    folder = str(captioning.save(model, tmp_path / 'captioner', cfg))
    client = serve(folder)
    captioner = captioning.load(folder)
    image = Image.open(picture).convert('RGB')
    for prompt in ('', 'Is there a dog?'):
        ((wanted,),) = captioner.caption([image], prompt or None)
        said, _ = ask(client, picture, prompt)
        assert said == wanted


@pytest.mark.parametrize('by_words', [False, True])
def test_what_a_detector_finds(serve, picture, tmp_path, by_words):
    if by_words:
        folder, words = str(saved(tmp_path)[1]), ['red ball', 'dog']
    else:
        folder, words = str(save('retinanet', tmp_path)), None
    client = serve(folder)
    detector = detection.load(folder)
    image = Image.open(picture).convert('RGB')
    (found,) = detector.detect([image], words, demo.LIMIT)
    told = ['Red ball, dog,dog'] if by_words else []
    seen = pixels(ask(client, picture, 0.0, *told))
    wanted = draw_boxes(image, found, detector.names(words))
    assert np.array_equal(seen, np.asarray(wanted))
    none = pixels(ask(client, picture, 1.0, *told))
    plain = draw_boxes(image, found.above(1.0), detector.names(words))
    assert np.array_equal(none, np.asarray(plain))
    if by_words:
        with pytest.raises(AppError, match='name at least one word'):
            ask(client, picture, 0.0, ' , ')


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match='no model at'):
        demo.build_page(str(tmp_path / 'nowhere'))
    folder = str(save_model(tmp_path))
    with pytest.raises(UserError, match='is no captioner: leave out'):
        demo.build_page(folder, 'cpu', 'language')
    page = demo.build_page(folder)
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f'{port}: name another'):
            demo.launch(page, port=port)
