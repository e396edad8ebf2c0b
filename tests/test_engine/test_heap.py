"""Memory that was freed comes back without the system's help."""

from __future__ import annotations

import resource

import pytest
import torch

from sparc_vlm.engine import heap
from sparc_vlm.engine.heap import keep_heap

MEBIBYTES = 96


def pages_asked_for():
    """Pages that the system hands out while a block is filled twenty times."""
    count = 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.ones(MEBIBYTES * 2**18)  # of 4 bytes
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = MEBIBYTES * 2**20 / resource.getpagesize()
    return (after - before) / (count * block)


@pytest.fixture
def usual():
    yield
    keep_heap(False)


def test_kept_memory_is_used_again(usual):
    assert keep_heap(False)
    returned = pages_asked_for()
    assert keep_heap()
    torch.ones(MEBIBYTES * 2**18)
    kept = pages_asked_for()
    # What other tests left between may cost a block now and then.
    assert kept < returned / 2


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, 'CDLL', lambda name: object())
    assert not keep_heap()
