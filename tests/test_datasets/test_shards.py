from __future__ import annotations

import builtins
import io
import itertools
import json
import pickle
import sys
import tarfile
import time
import tracemalloc

import pytest
import torch

from sparc_vlm.datasets import ShardLoader, write_shards
from sparc_vlm.datasets.report import new_report
from sparc_vlm.datasets.shards import (
    files,
    find_shards,
    shard_captions,
    stream,
)
from sparc_vlm.datasets.shards import loader as module
from sparc_vlm.datasets.shards.stream import Position, ShardReader
from sparc_vlm.datasets.text import PackedStrings
from tests.test_datasets.made import (
    ListSource,
    caption,
    encoded,
    tokenizer,
)

TOKENIZER = tokenizer()
COUNT, PER_SHARD = 46, 5


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp('shards')
    texts = {i: [f'{caption(i)} {i}', caption(i)] for i in range(COUNT)}
    write_shards(ListSource(COUNT, texts=texts), folder, PER_SHARD)
    return folder


def make(folder, **options):
    options = {
        'batch_size': 4,
        'image_size': 16,
        'buffer_size': 8,
        'crop_scale': (0.5, 1),
        **options,
    }
    return ShardLoader(
        f'{folder}/{{000000..000009}}.tar', TOKENIZER, **options
    )


def take(loader, count):
    return list(itertools.islice(loader, count))


def same(a, b):
    assert len(a) == len(b)
    return all(
        torch.equal(x['images'], y['images'])
        and torch.equal(x['tokens'].ids, y['tokens'].ids)
        for x, y in zip(a, b, strict=True)
    )


def read(folder, count, reader=0, readers=1, position=None, **options):
    """Keys of the first samples of a reader."""
    options = {
        'seed': 0,
        'buffer_size': 8,
        'shuffle': True,
        'resample': False,
        **options,
    }
    made = ShardReader(
        find_shards(str(folder)),
        reader,
        readers,
        position=position or Position(),
        **options,
    )
    return [sample.key for sample in itertools.islice(made, count)]


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def test_every_pair_once_an_epoch(shards):
    epochs = [read(shards, 3 * COUNT)[i * COUNT :][:COUNT] for i in range(3)]
    plain = read(shards, COUNT, shuffle=False)
    assert plain == sorted(plain) and len(set(plain)) == COUNT
    # Blocks run on over the end of an epoch: count whole ones.
    seen = read(shards, 8 * COUNT)
    counts = {key: seen.count(key) for key in plain}
    assert set(counts.values()) == {8}
    assert epochs[0] != epochs[1] != plain


def test_nothing_to_write_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='per_shard must be 1 or more, got 0'):
        write_shards(ListSource(3), tmp_path / 'out', 0)
    with pytest.raises(ValueError, match='no pictures'):
        write_shards(ListSource(0), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_captions_of_shards_spread_evenly(shards, monkeypatch):
    paths = find_shards(str(shards))
    whole = list(shard_captions(paths, 1000))
    assert len(whole) == len(set(whole)) == 2 * COUNT
    some = list(shard_captions(paths, 20))
    # Two of each of ten shards of ten captions.
    numbers = sorted(int(text.split()[-1]) for text in some[::2])
    assert len(some) == 20 and numbers == list(range(0, 50, 5))
    opened = []
    real = stream.read_shard
    monkeypatch.setattr(
        stream,
        'read_shard',
        lambda url, report: opened.append(url) or real(url, report),
    )
    monkeypatch.setattr(stream, 'SPREAD', 2)
    assert len(list(shard_captions(paths, 30))) == 30
    assert opened == [paths[0], paths[8], paths[4]]


def test_readers_share_the_shards(shards):
    first = [read(shards, 60, reader, 3)[:8] for reader in range(3)]
    for a, b in itertools.combinations(first, 2):
        assert not {k.split('/')[0] for k in a} & {k.split('/')[0] for k in b}


def test_resampling_draws_with_replacement(shards):
    names = [
        key.split('/')[0]
        for key in read(shards, 10 * COUNT, resample=True, shuffle=False)
    ]
    runs = [name for name, _ in itertools.groupby(names)][:40]
    assert len(set(runs[:10])) < 10
    other = read(shards, 30, 1, 4, resample=True)
    assert other != read(shards, 30, 2, 4, resample=True)


@pytest.mark.parametrize('num_workers', [0, 1, 3])
def test_goes_on_where_it_was(shards, num_workers):
    options = {'num_workers': num_workers, 'seed': 3}
    whole = take(make(shards, **options), 40)
    for cut in (1, 14, 31):
        begun = make(shards, **options)
        batches = iter(begun)
        for _ in range(cut):
            next(batches)
        file = io.BytesIO()
        torch.save(begun.state_dict(), file)
        file.seek(0)
        resumed = make(shards, **options)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        assert same(take(resumed, 40 - cut), whole[cut:])


def test_skipped_shards_are_not_opened(shards, monkeypatch):
    loader = make(shards, batch_size=1)
    batches = iter(loader)
    for _ in range(33):
        next(batches)
    opened = []
    real = stream.read_shard
    monkeypatch.setattr(
        stream,
        'read_shard',
        lambda url, report: opened.append(url) or real(url, report),
    )
    resumed = make(shards, batch_size=1)
    resumed.load_state_dict(loader.state_dict())
    next(iter(resumed))
    # The current block of 8 pairs lies in two or three shards of 5.
    assert 1 <= len(opened) <= 3
    order = resumed.shards
    position = loader.state_dict()['positions'][0]
    first = ShardReader(
        order, 0, 1, 0, 8, True, False, Position(**position)
    )._order(0)[position['shard']]
    assert opened[0] == order[first]


def test_another_set_up_is_refused(shards):
    state = make(shards, num_workers=2).state_dict()
    for change in (
        {'num_workers': 3},
        {'seed': 1},
        {'buffer_size': 9},
        {'shuffle': False},
    ):
        with pytest.raises(ValueError, match=next(iter(change))):
            make(shards, **{'num_workers': 2, **change}).load_state_dict(state)


def test_goes_on_with_another_batch_size(shards):
    loader = make(shards, batch_size=6, crop_scale=None)
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    small = make(shards, batch_size=2, crop_scale=None)
    small.load_state_dict(loader.state_dict())
    wanted, found = next(batches), take(small, 3)
    joined = torch.cat([batch['images'] for batch in found])
    assert torch.equal(joined, wanted['images'])


def test_processes_and_workers_read_their_own(shards, monkeypatch):
    seen = []
    monkeypatch.setattr(module, 'get_world_size', lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(module, 'get_rank', lambda rank=rank: rank)
        loader = make(shards, num_workers=2, buffer_size=4, crop_scale=None)
        assert loader.pairs_per_epoch == COUNT
        batches = take(loader, 2)
        images = torch.cat([batch['images'] for batch in batches])
        seen += [image.numpy().tobytes() for image in images]
    assert len(set(seen)) == len(seen) == 16


def test_too_few_shards(shards, monkeypatch, log):
    loader = make(shards, num_workers=16)
    assert loader.num_workers == 10
    assert any('16 data workers asked for, 10' in line for line in log)
    monkeypatch.setattr(module, 'get_world_size', lambda: 11)
    for num_workers in (0, 1):
        with pytest.raises(ValueError, match='resample=True'):
            make(shards, num_workers=num_workers)
    assert make(shards, num_workers=4, resample=True).num_workers == 4


@pytest.mark.parametrize('cut_at', [10, -200, -512])
def test_what_is_broken_is_counted_and_skipped(shards, tmp_path, cut_at):
    for name in ('000000.tar', '000001.tar', '000002.tar', '000005.tar'):
        (tmp_path / name).write_bytes((shards / name).read_bytes())
    cut = tmp_path / '000000.tar'
    with tarfile.open(cut) as archive:
        # In the data of the second picture, its header, or before it.
        size = archive.getmembers()[2].offset_data + cut_at
    cut.write_bytes(cut.read_bytes()[:size])
    (tmp_path / '000003.tar').write_bytes(b'no tar' * 300)
    with tarfile.open(tmp_path / '000004.tar', 'w') as archive:
        add(archive, 'a.jpg', b'no picture')
        add(archive, 'a.txt', b'a red dog')
        add(archive, 'b.png', encoded(1))
        add(archive, 'b.txt', b'  \n')
        add(archive, 'c.txt', b'text alone')
        add(archive, 'd.png', encoded(2))
        add(archive, 'd.txt', 'a café'.encode('latin-1'))
        add(archive, 'e.png', encoded(3))
        add(archive, 'e.json', b'{"caption": "a blue cat", "n": 1}')
        add(archive, 'f.png', encoded(4))
        add(archive, 'f.json', b'{nothing')
    loader = make(tmp_path, batch_size=1, buffer_size=1, shuffle=False)
    total = new_report()
    # One pair, five, five, none and two; then the first of five.
    for batch in take(loader, 14):
        for name, value in batch['report'].items():
            total[name] += value
    assert total['pairs'] == 14
    assert total['broken_shards'] == 2
    assert total['broken_images'] == 2
    assert total['empty_captions'] == 2
    assert total['bad_encodings'] == 1
    assert total['skipped_rows'] == 1
    assert any('000003.tar: ' in line for line in total['examples'])


def test_one_broken_shard_does_not_end_an_epoch_and_all_do(tmp_path):
    (tmp_path / '000000.tar').write_bytes(b'broken' * 300)
    with pytest.raises(RuntimeError, match='none of 1 shards.*000000.tar'):
        take(make(tmp_path), 1)
    with tarfile.open(tmp_path / '000000.tar', 'w') as archive:
        add(archive, 'a.png', b'no picture')
        add(archive, 'a.txt', b'a red dog')
    with pytest.raises(RuntimeError, match='1000 pairs in a row'):
        take(make(tmp_path), 1)


def test_pickles_in_shards_are_left_alone(tmp_path):
    class Trap:
        def __reduce__(self):
            return (sys.exit, ('was run',))

    trap = pickle.dumps(Trap())
    with tarfile.open(tmp_path / '000000.tar', 'w') as archive:
        for ending in ('pyd', 'pickle', 'pkl', 'pth'):
            add(archive, f'a.{ending}', trap)
        add(archive, 'a.png', encoded(1))
        add(archive, 'a.txt', b'a red dog')
    batch = take(make(tmp_path, batch_size=1), 1)[0]
    expected = TOKENIZER.encode('a red dog').ids
    assert batch['tokens'].ids.tolist() == expected


def test_written_again_only_where_missing(tmp_path):
    source = ListSource(COUNT, broken=[7], texts={9: [''], 11: ['', 'a dog']})
    gone = []
    first = write_shards(source, tmp_path, 10, done=gone.append)
    assert first == {
        'pictures': COUNT - 2,
        'captions': COUNT - 2,
        'broken_images': 1,
        'empty_captions': 1,
        'shards': 5,
    }
    assert sum(gone) == COUNT
    before = {p: p.read_bytes() for p in tmp_path.glob('*.tar')}
    times = {p: p.stat().st_mtime_ns for p in before}
    lost = tmp_path / '000002.tar'
    lost.unlink()
    # As a killed run leaves it: half a shard, half a line of the index.
    (tmp_path / '000002.part').write_bytes(b'half')
    with (tmp_path / 'index.jsonl').open('a') as index:
        index.write('{"shard": "0000')
    assert write_shards(source, tmp_path, 10) == first
    assert {p: p.read_bytes() for p in tmp_path.glob('*.tar')} == before
    assert not list(tmp_path.glob('*.part'))
    for path, written in times.items():
        assert path == lost or path.stat().st_mtime_ns == written
    assert write_shards(source, tmp_path, 10) == first
    assert make(tmp_path).pairs_per_epoch == COUNT - 2


def test_workers_write_the_same_shards(tmp_path):
    source = ListSource(COUNT)
    write_shards(source, tmp_path / 'one', 10)
    write_shards(source, tmp_path / 'two', 10, num_workers=2)
    for path in (tmp_path / 'one').glob('*.tar'):
        other = tmp_path / 'two' / path.name
        assert other.read_bytes() == path.read_bytes()


def test_shards_of_something_else_are_kept(tmp_path):
    write_shards(ListSource(COUNT), tmp_path, 10)
    for source, size in ((ListSource(COUNT), 11), (ListSource(COUNT + 1), 10)):
        with pytest.raises(ValueError, match='empty folder'):
            write_shards(source, tmp_path, size)


def test_finding_shards(shards, tmp_path, log):
    names = [f'{shards}/{i:06d}.tar' for i in range(10)]
    for pattern in (
        str(shards),
        f'{shards}/{{000000..000009}}.tar',
        f'{shards}/*.tar',
        names,
    ):
        assert list(find_shards(pattern)) == names
    assert len(find_shards(f'{shards}/{{000000..000019}}.tar')) == 10
    assert any('10 of 20 shards are not there' in line for line in log)
    with pytest.raises(FileNotFoundError, match='no tar shards at'):
        find_shards(f'{tmp_path}/{{000..009}}.tar')


def test_without_an_index_the_epoch_is_unknown(shards, tmp_path):
    path = tmp_path / '000000.tar'
    path.write_bytes((shards / path.name).read_bytes())
    assert make(tmp_path).pairs_per_epoch is None


def test_ten_thousand_shards_cost_little(tmp_path, monkeypatch):
    rows = (
        json.dumps({'shard': f'{i:06d}.tar', 'pictures': 1000})
        for i in range(10_000)
    )
    (tmp_path / 'index.jsonl').write_text('\n'.join(rows) + '\n')
    monkeypatch.setattr(files.Path, 'is_file', lambda path: True)
    start = time.perf_counter()
    tracemalloc.start()
    loader = make(tmp_path)
    loader.shards = find_shards(f'{tmp_path}/{{000000..009999}}.tar')
    loader.pairs_per_epoch = files.count_pairs(loader.shards)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert loader.pairs_per_epoch == 10_000_000
    assert kept < 3e6
    assert len(pickle.dumps(loader.shards)) < 2e6
    assert time.perf_counter() - start < 10


def test_without_the_library_one_sentence_says_what_to_do(monkeypatch):
    real = builtins.__import__

    def fail(name, *args, **kwargs):
        if name == 'webdataset':
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', fail)
    with pytest.raises(ImportError, match=r"pip install 'sparc_vlm\[shards\]"):
        find_shards('a.tar')


def test_positions_are_plain(shards):
    loader = make(shards, num_workers=1)
    take(loader, 1)
    state = loader.state_dict()
    assert json.loads(json.dumps(state)) == state
    assert isinstance(loader.shards, PackedStrings)
