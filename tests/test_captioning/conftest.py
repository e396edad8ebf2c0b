"""Small models on disk, once for all tests, and a fresh mmengine for each."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from tests.test_captioning.tiny_language import save_language
from tests.test_study.made import save_model


@pytest.fixture(scope='session')
def tiny_language(tmp_path_factory):
    """The folder of a language model."""
    return str(save_language(tmp_path_factory.mktemp('language')))


@pytest.fixture(scope='session')
def tiny_pretrained(tmp_path_factory):
    """The model folder of a pretrained model, for pictures of 32 pixels."""
    return str(save_model(tmp_path_factory.mktemp('pretrained')))


@pytest.fixture
def fresh(monkeypatch):
    """mmengine keeps loggers and the like by name for the whole process."""
    for kind in (MMLogger, MessageHub, Visualizer, DefaultScope):
        monkeypatch.setattr(kind, '_instance_dict', OrderedDict())
