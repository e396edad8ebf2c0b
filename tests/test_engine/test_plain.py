from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from sparc_vlm.engine.plain import pack, unpack


def through_disk(value, tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(pack(value), path)
    return unpack(torch.load(path, weights_only=True))


def test_history_comes_back_as_it_was(tmp_path):
    buffer = HistoryBuffer([1.5, 2.25], [1, 3], max_length=7)
    back = through_disk({'a': [buffer]}, tmp_path)['a'][0]
    assert isinstance(back, HistoryBuffer)
    assert back.max_length == 7
    for mine, theirs in zip(buffer.data, back.data, strict=True):
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    back.update(4.0)
    assert back.current() == 4.0


def test_everything_plain_comes_back_as_it_was(tmp_path):
    value = OrderedDict(
        a=(1, 2.5, 'x', None, True, b'y'),
        b=[np.float32(1.5), np.int64(3)],
        c={'deep': {3: torch.arange(3)}},
        d=np.arange(4).reshape(2, 2),
        e=Path('/a/b'),
    )
    back = through_disk(value, tmp_path)
    assert list(back) == list(value)
    assert back['a'] == value['a']
    assert back['b'] == [1.5, 3]
    assert torch.equal(back['c']['deep'][3], torch.arange(3))
    np.testing.assert_array_equal(back['d'], value['d'])
    assert back['e'] == '/a/b'


def test_a_state_dict_keeps_its_versions(tmp_path):
    state = torch.nn.BatchNorm1d(2).state_dict()
    back = through_disk(state, tmp_path)
    assert back._metadata == state._metadata


def test_what_is_not_plain_is_named():
    with pytest.raises(TypeError, match=r'a\.1 is a object.*instead'):
        pack({'a': [1, object()]})


def test_what_is_not_plain_can_be_left_out():
    dropped = []
    packed = pack({'a': [1, object()], 'b': lambda: 0}, dropped)
    assert packed == {'a': [1]}
    assert dropped == ['a.1', 'b']
