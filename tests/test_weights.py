"""Weights are read without running code, and never fit silently."""

from __future__ import annotations

import os
from collections import OrderedDict

import pytest
import torch
from mmengine.logging import MessageHub
from safetensors.torch import save_file
from torch import nn

from sparc_vlm.weights import (
    WeightsError,
    load_into,
    read_weights,
    reading,
    select_prefix,
)

STATE = {'a.weight': torch.ones(2, 3), 'b.bias': torch.arange(4.0)}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        torch.testing.assert_close(left[key], right[key])


class Code:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Resized(nn.Module):
    """Has a hook that cuts longer weights, as a ViT resizes positions."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(2))
        self.linear = nn.Linear(2, 2)
        self.register_load_state_dict_pre_hook(self.cut)

    @staticmethod
    def cut(module, state, prefix, *args):
        key = prefix + 'positions'
        if key in state:
            state[key] = state[key][:2]


def save(content, path):
    torch.save(content, path)
    return path


@pytest.mark.parametrize('suffix', ['.pth', '.pt', '.ckpt', '.bin'])
@pytest.mark.parametrize(
    'wrap',
    [
        lambda s: s,
        lambda s: {'state_dict': s, 'meta': {'epoch': 1}},
        lambda s: {'model': s, 'optimizer': {}},
        lambda s: {'state_dict': {f'module.{k}': v for k, v in s.items()}},
        lambda s: {f'module._orig_mod.{k}': v for k, v in s.items()},
    ],
)
def test_reads_files_of_torch(tmp_path, suffix, wrap):
    path = save(wrap(STATE), tmp_path / f'x{suffix}')
    assert_same(read_weights(path), STATE)


def test_a_prefix_shared_by_some_keys_stays(tmp_path):
    state = {'module.a': torch.ones(1), 'b': torch.ones(1)}
    assert_same(read_weights(save(state, tmp_path / 'x.pth')), state)


def test_reads_safetensors_and_folders(tmp_path):
    save_file(STATE, tmp_path / 'model.safetensors')
    assert_same(read_weights(tmp_path / 'model.safetensors'), STATE)
    assert_same(read_weights(str(tmp_path)), STATE)


def test_reads_mmengine_checkpoints_without_rebuilding_the_log(tmp_path):
    hub = MessageHub.get_instance('test_weights')
    hub.update_scalar('train/loss', 1.0)
    hub.update_info('iter', torch.tensor(3).numpy())
    checkpoint = {'state_dict': STATE, 'message_hub': hub.state_dict()}
    path = save(checkpoint, tmp_path / 'x.pth')
    allowed = set(torch.serialization.get_safe_globals())
    # torch alone refuses it: what is tested here is ours
    with pytest.raises(Exception, match='Weights only load failed'):
        torch.load(path, weights_only=True)
    assert_same(read_weights(path), STATE)
    # and nothing stays allowed behind our back
    assert set(torch.serialization.get_safe_globals()) == allowed


def test_code_is_refused_unless_trusted(tmp_path):
    marker = tmp_path / 'ran'
    content = {'state_dict': STATE, 'extra': Code(f'touch {marker}')}
    path = save(content, tmp_path / 'x.pth')
    with pytest.raises(WeightsError, match=r'system.*--trust'):
        read_weights(path)
    assert not marker.exists()
    assert_same(read_weights(path, trust=True), STATE)
    assert marker.exists()


def test_getattr_is_no_way_to_code(tmp_path):
    """It is let through by name, for mmengine's log, and does nothing."""

    class Sneaky:
        def __reduce__(self):
            return getattr, (OrderedDict, '__subclasses__')

    path = save({'state_dict': STATE, 'extra': Sneaky()}, tmp_path / 'x.pth')
    assert_same(read_weights(path), STATE)
    extra = reading._unpickle(path, trust=False)['extra']
    assert type(extra) is reading._LeftOut


@pytest.mark.parametrize('content', [b'', b'hello world', b'\x80\x02}'])
@pytest.mark.parametrize('name', ['x.pth', 'x.safetensors'])
def test_damaged_files_say_so(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match='damaged'):
        read_weights(tmp_path / name)


def test_a_cut_file_says_so(tmp_path):
    whole = save(STATE, tmp_path / 'x.pth').read_bytes()
    (tmp_path / 'x.pth').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match='damaged'):
        read_weights(tmp_path / 'x.pth')


def test_a_missing_file_says_what_was_looked_for(tmp_path):
    save(STATE, tmp_path / 'epoch_1.pth')
    with pytest.raises(WeightsError, match=r'looked for .*model.safetensors'):
        read_weights(tmp_path / 'nowhere' / 'x.pth')
    with pytest.raises(WeightsError, match=r'there is a .*epoch_1\.pth'):
        read_weights(tmp_path / 'epoch_2.pth')
    with pytest.raises(WeightsError, match=r'there is no model.safetensors'):
        read_weights(tmp_path)
    (tmp_path / 'x.txt').touch()
    with pytest.raises(WeightsError, match='must end in'):
        read_weights(tmp_path / 'x.txt')


def test_files_without_weights_say_what_they_hold(tmp_path):
    with pytest.raises(WeightsError, match='no tensors, only meta'):
        read_weights(save({'meta': 1}, tmp_path / 'x.pth'))
    with pytest.raises(WeightsError, match='holds a list'):
        read_weights(save([STATE], tmp_path / 'x.pth'))


def test_entries_that_are_no_tensors_are_named(tmp_path, log):
    path = save({**STATE, 'steps': 3}, tmp_path / 'x.pth')
    assert_same(read_weights(path), STATE)
    assert 'no tensor: steps' in log[-1]


def test_select_prefix():
    assert_same(select_prefix(STATE, 'a.'), {'weight': STATE['a.weight']})
    with pytest.raises(WeightsError, match=r"'vision\.'.*a\., b\."):
        select_prefix(STATE, 'vision.')


def test_load_into_matches_everything(log):
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    report = load_into(target, source.state_dict())
    assert_same(target.state_dict(), source.state_dict())
    assert (report.matched, report.total) == (2, 2)
    assert 'Linear: 2 of 2 keys matched' in log[-1]


def test_strict_names_what_does_not_fit():
    module = nn.ModuleDict({'a': nn.Linear(2, 3), 'b': nn.Linear(2, 3)})
    state = module.state_dict()
    del state['a.bias']
    state['c'] = torch.ones(1)
    state['b.weight'] = torch.ones(3, 5)
    with pytest.raises(WeightsError) as error:
        load_into(module, state)
    message = str(error.value)
    assert '2 of 4 keys matched' in message
    assert '1 missing (a.bias)' in message
    assert '1 unexpected (c)' in message
    assert 'b.weight: (3, 5) where (3, 2) is needed' in message


def test_not_strict_loads_what_fits_and_reports_the_rest():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    state = {
        '0.weight': torch.ones(3, 2),
        '0.bias': torch.ones(3),
        '1.weight': torch.ones(5, 5),
        'c': torch.ones(1),
    }
    before = module[1].weight.clone()
    report = load_into(module, state, strict=False)
    assert report.matched == 2
    assert report.missing == ['1.bias']
    assert report.unexpected == ['c']
    assert report.mismatched == ['1.weight: (5, 5) where (2, 3) is needed']
    assert module[0].weight.eq(1).all()
    torch.testing.assert_close(module[1].weight, before)


def test_too_few_keys_are_an_error_even_when_not_strict():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    state = {'0.weight': torch.ones(3, 2)}
    with pytest.raises(WeightsError, match='1 of 4 keys matched'):
        load_into(module, state, strict=False)
    report = load_into(module, state, strict=False, at_least=0.25)
    assert report.matched == 1
    with pytest.raises(WeightsError, match='0 of 4'):
        load_into(module, {'x': torch.ones(1)}, strict=False)


def test_allowed_keys_may_be_missing():
    module = nn.ModuleDict({'body': nn.Linear(2, 3), 'head': nn.Linear(2, 9)})
    state = {f'body.{k}': v for k, v in nn.Linear(2, 3).state_dict().items()}
    with pytest.raises(WeightsError, match=r'2 missing \(head'):
        load_into(module, state)
    report = load_into(module, state, allow_missing=['head.'])
    assert report.missing == ['head.weight', 'head.bias']
    del state['body.bias']
    with pytest.raises(WeightsError, match='3 missing'):
        load_into(module, state, allow_missing=['head.'])


def test_hooks_of_the_module_come_first():
    source, target = Resized(), Resized()
    state = source.state_dict()
    state['positions'] = torch.arange(5.0)
    report = load_into(target, state)
    assert report.matched == 3
    assert target.positions.tolist() == [0, 1]
    state['linear.bias'] = torch.ones(7)
    with pytest.raises(WeightsError, match=r'1 mismatched \(linear.bias: '):
        load_into(target, state)
