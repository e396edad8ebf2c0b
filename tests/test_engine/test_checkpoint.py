import os
import pickle

import pytest
import torch

from sparc_vlm.engine.checkpoint import (
    POINTER,
    BrokenCheckpointError,
    RefusedCheckpointError,
    is_whole,
    read_checkpoint,
    whole_checkpoints,
    write_checkpoint,
)


def write(folder, number):
    path = folder / f'iter_{number}.pth'
    write_checkpoint({'meta': {'iter': number}, 'w': torch.rand(50)}, path)
    (folder / POINTER).write_text(str(path))
    return path


def names(folder):
    return [path.name for path in whole_checkpoints(folder)]


def test_a_checkpoint_cut_off_anywhere_is_not_whole(tmp_path):
    path = write(tmp_path, 1)
    data = path.read_bytes()
    assert is_whole(path)
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        assert not is_whole(path), length
        with pytest.raises(BrokenCheckpointError, match='use another'):
            read_checkpoint(path)


def test_damage_in_the_middle_is_said(tmp_path):
    path = write(tmp_path, 1)
    data = bytearray(path.read_bytes())
    start = len(data) // 3
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(BrokenCheckpointError, match='iter_1.pth'):
        read_checkpoint(path)


def test_garbage_is_said(tmp_path):
    path = tmp_path / 'x.pth'
    path.write_bytes(b'\x80 no pickle at all')
    with pytest.raises((BrokenCheckpointError, RefusedCheckpointError)):
        read_checkpoint(path)


class Trap:
    def __reduce__(self):
        return os.mkdir, ('trap',)


def test_code_is_not_run_unless_trusted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'iter_1.pth'
    torch.save({'meta': Trap()}, path)
    with pytest.raises(RefusedCheckpointError, match=r'mkdir.*--trust'):
        read_checkpoint(path)
    assert not (tmp_path / 'trap').exists()
    read_checkpoint(path, trust=True)
    assert (tmp_path / 'trap').exists()


def test_the_old_format_is_read(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(
        {'w': torch.ones(2)}, path, _use_new_zipfile_serialization=False
    )
    assert torch.equal(read_checkpoint(path)['w'], torch.ones(2))


def test_no_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        read_checkpoint(tmp_path / 'x.pth')


def test_something_else_than_a_dict_is_said(tmp_path):
    torch.save([1], tmp_path / 'x.pth')
    with pytest.raises(BrokenCheckpointError, match='a list'):
        read_checkpoint(tmp_path / 'x.pth')


def test_the_latest_comes_first_and_half_written_ones_never(tmp_path):
    for number in (2, 9, 10):
        write(tmp_path, number)
    assert names(tmp_path) == ['iter_10.pth', 'iter_9.pth', 'iter_2.pth']
    path = tmp_path / 'iter_10.pth'
    path.write_bytes(path.read_bytes()[:-30])
    assert names(tmp_path) == ['iter_9.pth', 'iter_2.pth']


def test_killed_between_the_checkpoint_and_its_pointer(tmp_path):
    write(tmp_path, 2)
    pointed = (tmp_path / POINTER).read_text()
    write(tmp_path, 3)
    (tmp_path / POINTER).write_text(pointed)
    assert names(tmp_path)[0] == 'iter_3.pth'


def test_a_longer_run_before_in_the_same_folder_is_passed_over(tmp_path):
    old = write(tmp_path, 1000)
    os.utime(old, (1, 1))
    write(tmp_path, 10)
    assert names(tmp_path) == ['iter_10.pth']


def test_a_folder_that_was_moved(tmp_path):
    write(tmp_path, 4)
    moved = tmp_path.with_name('moved')
    tmp_path.rename(moved)
    assert names(moved) == ['iter_4.pth']
    moved.rename(tmp_path)


def test_other_files_are_no_checkpoints(tmp_path):
    write_checkpoint({'a': 1}, tmp_path / 'best_acc_iter_3.pth')
    (tmp_path / 'iter_5.pth.77.unfinished').write_bytes(b'half')
    assert names(tmp_path) == []


def test_what_training_needs_must_be_plain(tmp_path):
    bad = {'optimizer': {'state': pickle}}
    with pytest.raises(TypeError, match=r'optimizer.state is a module'):
        write_checkpoint(bad, tmp_path / 'x.pth')
    hub = {'message_hub': {'info': {'a': pickle, 'b': 1}}}
    assert write_checkpoint(hub, tmp_path / 'x.pth') == ['message_hub.info.a']
    assert read_checkpoint(tmp_path / 'x.pth') == {
        'message_hub': {'info': {'b': 1}}
    }
