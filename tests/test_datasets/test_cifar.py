from __future__ import annotations

import pickle

import numpy as np
import pytest

from sparc_vlm.datasets import BrokenImage, Cifar

TEN = ['airplane', 'automobile', 'bird']
FINE = ['aquarium_fish', 'baby', 'bear', 'bed']
COARSE = ['aquatic_mammals', 'fish']


def pixels(number):
    """(32, 32, 3) values: red rises by column, green by row."""
    values = np.zeros((32, 32, 3), np.uint8)
    values[..., 0] = np.arange(32)
    values[..., 1] = np.arange(32)[:, None]
    values[..., 2] = number
    return values


def record(number, *labels):
    return bytes(labels) + pixels(number).transpose(2, 0, 1).tobytes()


def write_ten(root):
    root.mkdir(parents=True, exist_ok=True)
    (root / 'batches.meta.txt').write_text('\n'.join(TEN) + '\n\n')
    for batch in range(1, 6):
        rows = [record(10 * batch + n, n) for n in range(2)]
        (root / f'data_batch_{batch}.bin').write_bytes(b''.join(rows))
    rows = [record(n, label) for n, label in enumerate([2, 0, 1])]
    (root / 'test_batch.bin').write_bytes(b''.join(rows))
    return root


def write_hundred(root):
    root.mkdir(parents=True, exist_ok=True)
    (root / 'fine_label_names.txt').write_text('\n'.join(FINE))
    (root / 'coarse_label_names.txt').write_text('\n'.join(COARSE))
    (root / 'train.bin').write_bytes(record(9, 0, 1))
    (root / 'test.bin').write_bytes(record(7, 1, 0) + record(8, 0, 3))
    return root


@pytest.mark.parametrize('inside', ['', 'cifar-10-batches-bin'])
def test_ten(tmp_path, inside):
    write_ten(tmp_path / inside)
    test = Cifar(tmp_path)
    assert test.classes == TEN
    assert [test.label(i) for i in range(len(test))] == [2, 0, 1]
    assert [test.key(i) for i in range(3)] == [
        f'test_batch.bin/{n}' for n in range(3)
    ]
    assert test.captions(0) == ['bird']
    for index in range(3):
        assert (np.asarray(test.image(index)) == pixels(index)).all()
    train = Cifar(tmp_path, 'train', template='a {}')
    assert len(train) == 10
    assert [train.label(i) for i in range(10)] == [0, 1] * 5
    assert train.key(7) == 'data_batch_4.bin/1'
    assert train.captions(7) == ['a automobile']
    assert (np.asarray(train.image(7)) == pixels(41)).all()
    with pytest.raises(IndexError):
        train.key(10)


def test_hundred(tmp_path):
    write_hundred(tmp_path / 'cifar-100-binary')
    fine = Cifar(tmp_path)
    assert fine.classes[0] == 'aquarium fish'
    assert [fine.label(i) for i in range(2)] == [0, 3]
    coarse = Cifar(tmp_path, labels='coarse')
    assert coarse.classes == ['aquatic mammals', 'fish']
    assert [coarse.label(i) for i in range(2)] == [1, 0]
    assert (np.asarray(coarse.image(1)) == pixels(8)).all()
    assert len(Cifar(tmp_path, 'train')) == 1


def test_bad_records_are_counted(tmp_path):
    root = write_ten(tmp_path)
    path = root / 'test_batch.bin'
    path.write_bytes(path.read_bytes() + record(1, 200) + b'half a record')
    source = Cifar(root)
    assert len(source) == 4
    assert source.label(3) == -1 and source.captions(3) == []
    assert source.reading['skipped_rows'] == 2
    path.write_bytes(path.read_bytes()[:4000])
    assert source.image(0).size == (32, 32)
    with pytest.raises(BrokenImage, match='test_batch.bin/1'):
        source.image(1)
    assert source.reading['skipped_rows'] == 2


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match='no CIFAR at'):
        Cifar(tmp_path / 'none')
    (tmp_path / 'test_batch').write_bytes(pickle.dumps({'data': 1}))
    with pytest.raises(FileNotFoundError, match='pickled, and is not read'):
        Cifar(tmp_path)
    root = write_ten(tmp_path)
    with pytest.raises(ValueError, match="'train' or 'test', not 'val'"):
        Cifar(root, 'val')
    with pytest.raises(ValueError, match="has fine labels, not 'coarse'"):
        Cifar(root, labels='coarse')
    (root / 'data_batch_3.bin').unlink()
    with pytest.raises(FileNotFoundError, match='data_batch_3.bin: unpack'):
        Cifar(root, 'train')
    (root / 'test_batch.bin').write_bytes(b'')
    with pytest.raises(ValueError, match='has no picture'):
        Cifar(root)
