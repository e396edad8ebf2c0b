"""Devices by name, and who asks for them before it loads anything."""

from __future__ import annotations

import pytest
import torch

import sparc_vlm
from sparc_vlm import captioning, detection
from sparc_vlm.devices import best_device, find_device
from sparc_vlm.errors import UsageError
from sparc_vlm.study import open_model


def test_a_device_that_is_there():
    assert find_device('cpu') == torch.device('cpu')
    assert find_device(torch.device('cpu')) == torch.device('cpu')
    assert find_device(best_device()).type == best_device()


@pytest.mark.parametrize('name', ['gpu', 'cpu:x', 'cuda:99', 'meta', ''])
def test_a_device_that_computes_nothing(name):
    with pytest.raises(UsageError, match='torch cannot .* choose cpu') as one:
        find_device(name)
    assert repr(name) in str(one.value)
    assert '\n' not in str(one.value)


def test_a_machine_with_two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(UsageError, match='choose cpu or cuda:0 or cuda:1$'):
        find_device('gpu')


@pytest.mark.parametrize(
    'load',
    [
        sparc_vlm.load,
        detection.load,
        captioning.load,
        captioning.load_vision,
    ],
)
def test_it_is_asked_for_before_the_model(load, tmp_path):
    """Nothing is in the folder, which would be said next."""
    with pytest.raises(UsageError, match="on the device 'gpu' here"):
        load(tmp_path, 'gpu')


def test_models_of_others_are_not_loaded_either(tmp_path):
    with pytest.raises(UsageError, match="on the device 'gpu' here"):
        open_model(f'hf:{tmp_path}', 'gpu')
