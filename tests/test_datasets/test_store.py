from __future__ import annotations

import multiprocessing
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from sparc_vlm.datasets import BrokenImage, ImageStore
from tests.test_datasets.made import encoded, picture, write_images

NAMES = [f'train/deep/{i}.png' for i in range(6)] + ['val/0.png', 'a.png']


@pytest.fixture(params=['folder', 'made.zip', 'made.tar'])
def store(request, tmp_path):
    return ImageStore(write_images(tmp_path / request.param, NAMES))


def same(image, number):
    return np.array_equal(np.asarray(image), np.asarray(picture(number)))


def test_names_with_and_without_folders(store):
    for number, name in enumerate(NAMES):
        assert same(store.image(name), number)
        assert name in store
    assert same(store.image('3.png'), 3)
    assert same(store.image('deep/3.png'), 3)
    assert same(store.image('data/images/train/deep/3.png'), 3)
    assert same(store.image('other/a.png'), 7)
    # Two are called 0.png: the one with the same folders.
    assert same(store.image('x/val/0.png'), 6)
    assert same(store.image('deep/0.png'), 0)
    assert store.names() == sorted(NAMES)


def test_what_is_not_there(store):
    assert 'none.png' not in store
    with pytest.raises(BrokenImage, match='none.png: not found in'):
        store.image('none.png')


def test_another_picture_of_the_same_name_does_not_stand_in(store):
    for name in ('cats/0.png', 'val/3.png', 'deep/train/3.png', 'p/0.png'):
        assert name not in store
        with pytest.raises(BrokenImage, match=f'{name}: not found in'):
            store.image(name)
    with pytest.raises(BrokenImage, match='0.png: 2 files in .* fit it: '):
        store.image('0.png')


def test_a_whole_name_in_a_later_place_wins(tmp_path):
    one = write_images(tmp_path / 'one', ['z.png', 'x.png'])
    two = write_images(tmp_path / 'two', ['y.png', 'w.png', 'cats/x.png'])
    assert same(ImageStore([one, two]).image('cats/x.png'), 2)
    three = write_images(tmp_path / 'three', ['x.png'])
    with pytest.raises(BrokenImage, match='2 files'):
        ImageStore([one, three]).image('cats/x.png')


def read_all(store, queue, start):
    for number in list(range(8)) * 20:
        number = (number + start) % 8
        if not same(store.image(NAMES[number]), number):
            queue.put(number)
    queue.put('done')


def test_forked_readers_do_not_disturb_each_other(store):
    assert same(store.image('a.png'), 7)
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    readers = [
        context.Process(target=read_all, args=(store, queue, start))
        for start in range(3)
    ]
    for reader in readers:
        reader.start()
    assert [queue.get(timeout=60) for _ in readers] == ['done'] * 3
    for reader in readers:
        reader.join()


def test_a_copy_for_another_process_opens_its_own(store):
    assert same(store.image('a.png'), 7)
    assert same(pickle.loads(pickle.dumps(store)).image('a.png'), 7)


def test_several_places(tmp_path):
    one = write_images(tmp_path / 'one.zip', ['x.png'])
    two = write_images(tmp_path / 'two', ['w.png', 'y.png'])
    store = ImageStore([one, two])
    assert same(store.image('x.png'), 0)
    assert same(store.image('y.png'), 1)
    assert store.names() == ['w.png', 'x.png', 'y.png']


def test_pictures_among_other_files(tmp_path):
    folder = write_images(tmp_path / 'some', ['b.png', 'a.JPG', '._a.jpg'])
    (folder / 'notes.txt').write_text('hello')
    assert ImageStore(folder).names() == ['a.JPG', 'b.png']


def test_wrong_checksum_and_cut_archives(tmp_path):
    path = write_images(tmp_path / 'a.zip', ['0.png', '1.png'])
    with zipfile.ZipFile(path) as archive:
        starts = [i.header_offset for i in archive.infolist()]
    data = bytearray(path.read_bytes())
    data[starts[0] + 60] ^= 255
    path.write_bytes(data)
    store = ImageStore(path)
    with pytest.raises(BrokenImage, match='checksum'):
        store.read('0.png')
    assert store.read('1.png') == encoded(1)
    data[starts[1] + 60] ^= 255
    path.write_bytes(data)
    with pytest.raises(BrokenImage):
        ImageStore(path).read('1.png')
    tar = write_images(tmp_path / 'a.tar', ['0.png'])
    store = ImageStore(tar)
    tar.write_bytes(tar.read_bytes()[:700])
    with pytest.raises(BrokenImage, match='too early'):
        store.read('0.png')


def test_an_encrypted_member_is_named(tmp_path):
    path = write_images(tmp_path / 'a.zip', ['0.png'])
    data = bytearray(path.read_bytes())
    data[data.rindex(b'PK\x01\x02') + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(BrokenImage, match='encrypted'):
        ImageStore(path).read('0.png')


def test_mistakes_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no images at'):
        ImageStore(tmp_path / 'none')
    packed = tmp_path / 'a.tar.gz'
    with tarfile.open(packed, 'w:gz') as archive:
        archive.add(write_images(tmp_path / 'some', ['0.png']) / '0.png')
    with pytest.raises(ValueError, match='unpack it'):
        ImageStore(packed)
