"""A captioner answers what lmms_eval requests.

lmms_eval itself is not installed beside our versions; its requests and its
base class are made as it makes them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType

import pytest
from PIL import Image

from sparc_vlm import captioning
from sparc_vlm.adapters import lmms_eval
from sparc_vlm.errors import UserError


@dataclass
class Request:
    """A question as the package has it."""

    args: tuple


class Echo:
    """Answers with what it was asked."""

    def __init__(self):
        self.calls = []

    def answer(self, images, questions, max_new_tokens):
        self.calls.append((len(images), max_new_tokens))
        return [
            f' {image.size[0]} {question}\nmore'
            for image, question in zip(images, questions, strict=True)
        ]


class Base:
    """What the package's base class sets."""

    def __init__(self):
        self.task_dict = {
            'pope': {'test': [Image.new('RGB', (n + 1, 1)) for n in range(3)]}
        }


@pytest.fixture
def model(monkeypatch):
    package, api, module = map(ModuleType, 'abc')
    module.lmms = Base
    monkeypatch.setitem(sys.modules, 'lmms_eval', package)
    monkeypatch.setitem(sys.modules, 'lmms_eval.api', api)
    monkeypatch.setitem(sys.modules, 'lmms_eval.api.model', module)
    monkeypatch.setattr(captioning, 'load', lambda path, device: Echo())
    model = lmms_eval.Model(pretrained='folder', batch_size='4')
    assert isinstance(model, Base)
    assert model.model.batch_size == 4
    return model


def request(text, number, pictures=1, **options):
    def find(document):
        return [document] * pictures

    return Request((text, options, find, number, 'pope', 'test'))


def test_answers_in_order_and_in_batches(model):
    asked = [
        request('a', 0, max_new_tokens=4),
        request('b', 1, max_new_tokens=4, until=['\n']),
        request('c', 2, until=' c'),
    ]
    assert model.generate_until(asked) == ['1 a\nmore', '2 b', '3']
    assert model.model.calls == [(2, 4), (1, lmms_eval.MAX_NEW_TOKENS)]


def test_what_it_does_not_do_is_said(model):
    with pytest.raises(UserError, match='question 1: .* one picture, got 2'):
        model.generate_until([request('a', 1, pictures=2)])
    with pytest.raises(UserError, match='a task that generates'):
        model.loglikelihood([])
    with pytest.raises(UserError, match='one round'):
        model.generate_until_multi_round([])


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'lmms_eval', None)
    with pytest.raises(ImportError, match='pip install lmms_eval'):
        lmms_eval.register()
    with pytest.raises(AttributeError):
        _ = lmms_eval.Nothing


def test_it_is_put_into_the_table(monkeypatch):
    table = {}

    class Registry:
        def register_manifest(self, manifest):
            table.update(manifest)

    package, models, manifests = map(ModuleType, 'abc')
    models.MODEL_REGISTRY_V2 = Registry()
    manifests.ModelManifest = lambda name, simple_class_path: {
        name: simple_class_path
    }
    monkeypatch.setitem(sys.modules, 'lmms_eval', package)
    monkeypatch.setitem(sys.modules, 'lmms_eval.models', models)
    monkeypatch.setitem(sys.modules, 'lmms_eval.models.registry_v2', manifests)
    lmms_eval.register()
    assert table == {'sparc_vlm': 'sparc_vlm.adapters.lmms_eval.Model'}
