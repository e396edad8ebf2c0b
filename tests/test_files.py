import errno
import os
import resource

import pytest
import torch

from sparc_vlm.engine.checkpoint import write_checkpoint
from sparc_vlm.errors import UsageError
from sparc_vlm.files import (
    TEMPORARY,
    atomic_file,
    check_writable,
    clear_unfinished,
    read_written,
    write_changed,
    write_json,
    write_text,
)
from tests.test_engine import children


def test_a_file_appears_under_its_name_only_when_whole(tmp_path):
    path = tmp_path / 'a' / 'b.txt'
    with atomic_file(path) as file:
        file.write(b'half')
        assert not path.exists()
        file.write(b' and half')
    assert path.read_bytes() == b'half and half'
    assert os.listdir(path.parent) == ['b.txt']


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / 'b.txt'
    write_text(path, 'old')
    with pytest.raises(ValueError, match='mine'), atomic_file(path) as file:
        file.write(b'new')
        raise ValueError('mine')
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['b.txt']


def test_the_data_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    calls = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, 'fsync', lambda f: (calls.append('fsync'), real_sync(f))
    )
    monkeypatch.setattr(
        os,
        'replace',
        lambda a, b: (calls.append('replace'), real_replace(a, b)),
    )
    write_text(tmp_path / 'x', 'y')
    assert calls == ['fsync', 'replace', 'fsync']  # the last is the folder


def test_what_is_the_same_is_left_alone(tmp_path):
    path = tmp_path / 'x'
    write_changed(path, b'one')
    inode = path.stat().st_ino
    write_changed(path, b'one')
    assert path.stat().st_ino == inode
    write_changed(path, b'two')
    assert path.read_bytes() == b'two'


def test_leftovers_are_cleared_and_nothing_else(tmp_path):
    (tmp_path / f'iter_3.pth.12{TEMPORARY}').write_bytes(b'half')
    write_json(tmp_path / 'best.json', {'a': 1})
    assert len(clear_unfinished(tmp_path)) == 1
    assert os.listdir(tmp_path) == ['best.json']


def write_too_much(folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    small, large = torch.zeros(10), torch.zeros(1_000_000)
    write_checkpoint({'state_dict': {'w': small}}, folder / 'iter_1.pth')
    with pytest.raises(OSError, match='too large') as caught:
        write_checkpoint({'state_dict': {'w': large}}, folder / 'iter_2.pth')
    assert caught.value.errno == errno.EFBIG


def test_a_disk_that_takes_no_more_is_an_oserror(tmp_path):
    """A real limit of the system, not a pretended one."""
    folder, log = tmp_path / 'run', tmp_path / 'log'
    process = children.start(write_too_much, folder, log=log)
    children.finish(process, log)
    assert os.listdir(folder) == ['iter_1.pth']


def test_a_full_disk_half_way_through_a_tensor(tmp_path, monkeypatch):
    """torch wraps the error; the one that comes out is the system's."""
    written = 0
    real = open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, data):
            nonlocal written
            written += len(data)
            if written > 2000:
                raise OSError(errno.ENOSPC, 'No space left on device')
            return self.file.write(data)

    monkeypatch.setattr(
        'builtins.open',
        lambda path, mode='r', **more: (
            Full(real(path, mode, **more))
            if 'wb' in mode
            else real(path, mode, **more)
        ),
    )
    with pytest.raises(OSError, match='No space left') as caught:
        write_checkpoint({'w': torch.randn(4000)}, tmp_path / 'iter_1.pth')
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_a_folder_is_made_and_tried(tmp_path):
    folder = tmp_path / 'a' / 'b'
    check_writable(folder)
    assert folder.is_dir()
    assert not os.listdir(folder)
    (folder / 'file').write_text('')
    for wrong in (folder / 'file', folder / 'file' / 'c'):
        with pytest.raises(UsageError, match='cannot be written to'):
            check_writable(wrong)


def test_what_was_written_is_read_back_or_said_to_be_damaged(tmp_path):
    path = tmp_path / 'note.json'
    write_json(path, {'a': 1})
    assert read_written(path) == {'a': 1}
    path.write_text('{')
    with pytest.raises(UsageError, match=r'note\.json is damaged .*: delete'):
        read_written(path)
