"""Files of feature maps: what is written is read, and never half of one."""

from __future__ import annotations

import multiprocessing
import pickle

import pytest
import torch

from sparc_vlm.feature_maps import (
    UNREADABLE,
    FeatureMaps,
    Header,
    KnownMaps,
    MapWriter,
    fingerprint,
    fingerprints,
    one_writer,
    read_header,
)

HEADER = Header('trunk', 'pictures', 5, (3, 2, 2))
MAPS = torch.linspace(-3, 3, 60).view(5, 3, 2, 2)
MARKS = [bytes([n + 1] * 16) for n in range(5)]


def write(path, marks=MARKS, header=HEADER):
    writer = MapWriter(path, header)
    writer.append(marks, MAPS)
    writer.close()
    return FeatureMaps(path)


def test_what_is_written_is_read(tmp_path):
    file = write(tmp_path / 'deeper' / 'x.maps')
    assert file.header == read_header(file.path) == HEADER
    assert len(file) == 5
    assert file.marks == MARKS
    assert file.path.stat().st_size == HEADER.size == 2 * 4096 + 5 * 24
    for row, one in enumerate(MAPS):
        assert torch.equal(file.read(row), one.half())


def test_one_that_could_not_be_read(tmp_path):
    file = write(tmp_path / 'x.maps', [*MARKS[:2], UNREADABLE, *MARKS[3:]])
    assert file.read(2) is None
    assert torch.equal(file.read(3), MAPS[3].half())
    assert len(KnownMaps([file])) == 4


@pytest.mark.parametrize('torn', [0, 7])
def test_goes_on_where_it_was_stopped(tmp_path, torn):
    path = tmp_path / 'x.maps'
    writer = MapWriter(path, HEADER)
    writer.append(MARKS[:2], MAPS[:2])
    writer.close()
    (begun,) = tmp_path.iterdir()
    assert begun.name != path.name
    with open(begun, 'ab') as file:  # killed in the middle of a map
        file.write(b'x' * torn)
    writer = MapWriter(path, HEADER)
    assert (writer.done, writer.marks) == (2, MARKS[:2])
    writer.append(MARKS[2:], MAPS[2:])
    writer.close()
    assert list(tmp_path.iterdir()) == [path]
    whole = write(tmp_path / 'y.maps')
    assert path.read_bytes() == whole.path.read_bytes()


def test_what_was_begun_of_another_kind_is_begun_anew(tmp_path):
    path = tmp_path / 'x.maps'
    other = MapWriter(path, HEADER._replace(encoder='another'))
    other.append(MARKS[:4], MAPS[:4])
    other.close()
    assert MapWriter(path, HEADER).done == 0
    write(path)
    again = MapWriter(path, HEADER)
    again.append(MARKS[:1], MAPS[:1])
    again.restart()
    assert again.done == 0
    again.append(MARKS, MAPS + 1)
    again.close()
    assert torch.equal(FeatureMaps(path).read(4), (MAPS[4] + 1).half())


def test_values_too_large_for_half_floats(tmp_path):
    writer = MapWriter(tmp_path / 'x.maps', HEADER)
    with pytest.raises(ValueError, match='not finite half floats'):
        writer.append(MARKS, MAPS * 1e6)


@pytest.mark.parametrize(
    'content', [b'', b'no json', b'[1]', b'{"format": 9}', b'{"format": 1}']
)
def test_no_file_of_maps(tmp_path, content):
    path = tmp_path / 'x.maps'
    path.write_bytes(content.ljust(9000))
    assert read_header(path) is None
    with pytest.raises(ValueError, match='no whole file of feature maps'):
        FeatureMaps(path)
    assert read_header(tmp_path / 'gone') is None


def test_a_file_that_was_cut(tmp_path):
    path = write(tmp_path / 'x.maps').path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match='no whole file'):
        FeatureMaps(path)


def test_goes_to_workers_without_its_content(tmp_path):
    file = write(tmp_path / 'x.maps')
    file.read(0)
    parcel = pickle.dumps(file)
    assert len(parcel) < 2000
    assert torch.equal(pickle.loads(parcel).read(1), MAPS[1].half())


def test_pictures_are_found_by_their_pixels(tmp_path):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (5, 3, 4, 4)) / 127.5 - 1
    file = write(tmp_path / 'x.maps', fingerprints(images))
    known = KnownMaps([file])
    other = images[3].clone()
    other[0, 0, 0] += 1 / 127.5
    found = known.find(torch.stack([images[4], other, images[1]]))
    assert torch.equal(found[0], MAPS[4].half())
    assert found[1] is None
    assert torch.equal(found[2], MAPS[1].half())
    nearly = images * (1 + 1e-7)  # as another device rounds
    assert fingerprints(nearly) == fingerprints(images)


def test_fingerprints_of_weights():
    state = {'a': torch.ones(2), 'b': torch.tensor(3, dtype=torch.bfloat16)}
    first = fingerprint({'x': 1, 'y': (2,)}, state)
    turned = dict(reversed(state.items()))
    assert fingerprint({'y': [2], 'x': 1}, turned) == first
    others = [
        fingerprint({'x': 2, 'y': [2]}, state),
        fingerprint({'x': 1, 'y': [2]}, state | {'a': torch.zeros(2)}),
        fingerprint({'x': 1, 'y': [2]}, {'a': state['a']}),
        fingerprint({'x': 1, 'y': [2]}, state | {'a': torch.ones(2, 1)}),
    ]
    assert len({first, *others}) == 5


def _make_one(folder, queue):
    with one_writer(folder):
        queue.put('in')


def test_one_writer_at_a_time(tmp_path):
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    other = context.Process(target=_make_one, args=(tmp_path, queue))
    with one_writer(tmp_path):
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert queue.empty()
    assert queue.get(timeout=20) == 'in'
    other.join(20)
    assert other.exitcode == 0
