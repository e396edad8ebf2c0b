from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import signal
import time

import pytest
import torch

from sparc_vlm.datasets import PairDataset, PairLoader
from sparc_vlm.datasets import loader as module
from sparc_vlm.datasets.report import note
from sparc_vlm.registry import LOADERS
from tests.test_datasets.made import ListSource, tokenizer

TOKENIZER = tokenizer()


def make(source=None, batch_size=4, **options):
    source = ListSource(count=22) if source is None else source
    pairs = PairDataset(
        source, TOKENIZER, image_size=16, crop_scale=(0.5, 1), seed=1
    )
    return PairLoader(pairs, batch_size, **options)


def take(loader, count):
    return list(itertools.islice(loader, count))


def same(a, b):
    assert len(a) == len(b)
    return all(
        torch.equal(x['images'], y['images'])
        and torch.equal(x['tokens'].ids, y['tokens'].ids)
        and x['report'] == y['report']
        for x, y in zip(a, b, strict=True)
    )


def be(monkeypatch, rank, processes):
    monkeypatch.setattr(module, 'get_rank', lambda: rank)
    monkeypatch.setattr(module, 'get_world_size', lambda: processes)


def test_every_picture_once_an_epoch_in_another_order():
    source = ListSource(count=22)
    take(make(source, batch_size=11), 8)
    epochs = [source.read[22 * i : 22 * (i + 1)] for i in range(4)]
    assert all(sorted(epoch) == list(range(22)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_batches_run_on_over_the_end_of_an_epoch():
    source = ListSource(count=5)
    batches = take(make(source, batch_size=4, shuffle=False), 5)
    assert {len(batch['images']) for batch in batches} == {4}
    assert source.read == [0, 1, 2, 3, 4] * 4


def test_a_batch_larger_than_the_data():
    source = ListSource(count=3)
    take(make(source, batch_size=10, shuffle=False), 1)
    assert source.read == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def test_workers_make_the_same_batches():
    here = take(make(ListSource(broken=[3])), 12)
    assert same(take(make(ListSource(broken=[3]), num_workers=2), 12), here)
    assert sum(batch['report']['broken_images'] for batch in here) >= 2


def test_the_seed_decides():
    first = take(make(seed=0), 5)
    assert same(take(make(seed=0), 5), first)
    assert not same(take(make(seed=1), 5), first)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_goes_on_where_it_was(num_workers):
    whole = take(make(num_workers=num_workers), 15)
    begun = make(num_workers=num_workers)
    batches = iter(begun)
    for _ in range(7):
        next(batches)
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    resumed = make(num_workers=num_workers)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert same(take(resumed, 8), whole[7:])


def test_what_is_skipped_is_not_read():
    source = ListSource(count=22)
    loader = make(source, shuffle=False)
    state = {**loader.state_dict(), 'position': 22 * 1000 + 8}
    loader.load_state_dict(state)
    take(loader, 1)
    assert source.read == [8, 9, 10, 11]


def test_goes_on_with_another_batch_size():
    source = ListSource(count=22)
    loader = make(source, batch_size=4, shuffle=False)
    take(loader, 3)
    other = make(source, batch_size=2, shuffle=False)
    other.load_state_dict(loader.state_dict())
    source.read.clear()
    take(other, 1)
    assert source.read == [12, 13]


def test_the_position_is_that_of_batches_handed_out():
    loader = make(num_workers=1)
    batches = iter(loader)
    for number in range(1, 4):
        next(batches)
        assert loader.state_dict()['position'] == 4 * number


def test_other_data_are_refused():
    state = make().state_dict()
    with pytest.raises(ValueError, match='pairs_per_epoch=22'):
        make(ListSource(count=21)).load_state_dict(state)
    with pytest.raises(ValueError, match='seed=0'):
        make(seed=2).load_state_dict(state)


def test_processes_share_the_pairs(monkeypatch):
    alone = ListSource(count=22)
    take(make(alone, batch_size=6), 8)
    parts = []
    for rank in range(3):
        be(monkeypatch, rank, 3)
        source = ListSource(count=22)
        loader = make(source, batch_size=2)
        take(loader, 8)
        assert loader.state_dict()['position'] == 48
        assert loader.pairs_per_epoch == 22
        parts.append(source.read)
    dealt = [number for group in zip(*parts, strict=True) for number in group]
    assert dealt == alone.read


def test_wrong_annotations_are_counted_once_a_run(monkeypatch):
    source = ListSource(count=20)
    note(source.reading, 'skipped_rows', 'a.csv, line 3: a column is missing')
    loader = make(source)
    counts = [b['report']['skipped_rows'] for b in take(loader, 10)]
    assert counts == [1, *[0] * 9]
    resumed = make(source)
    resumed.load_state_dict(loader.state_dict())
    assert not any(b['report']['skipped_rows'] for b in take(resumed, 6))
    be(monkeypatch, 1, 2)
    assert not any(b['report']['skipped_rows'] for b in take(make(source), 5))


def test_large_data_cost_little():
    class Large(ListSource):
        def captions(self, index):
            return ['a red dog']

    loader = make(Large(count=3_000_000))
    start = time.perf_counter()
    take(loader, 1)
    assert time.perf_counter() - start < 3


def test_built_from_a_config(tmp_path):
    TOKENIZER.save(tmp_path)
    config = {
        'type': 'PairLoader',
        'dataset': {
            'source': {'type': 'Scenes', 'split': 'val', 'num_images': 50},
            'tokenizer': {'type': 'CaptionTokenizer', 'path': str(tmp_path)},
            'image_size': 32,
        },
        'batch_size': 3,
        'seed': 9,
    }
    loader = LOADERS.build(config)
    assert loader.dataset.seed == 9
    assert loader.pairs_per_epoch == 50
    assert next(iter(loader))['images'].shape == (3, 3, 32, 32)
    with pytest.raises(ValueError, match='batch_size'):
        LOADERS.build({**config, 'batch_size': 0})


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def start_workers_and_wait(pipe):
    batches = iter(make(num_workers=2))
    for _ in range(2):  # one of each worker, which is then set up
        next(batches)
    pipe.send([child.pid for child in multiprocessing.active_children()])
    time.sleep(60)


@pytest.mark.skipif(not os.path.exists('/proc/self'), reason='reads /proc')
def test_workers_end_with_a_killed_parent_and_not_with_ctrl_c():
    context = multiprocessing.get_context('fork')
    here, there = context.Pipe()
    parent = context.Process(target=start_workers_and_wait, args=(there,))
    parent.start()
    workers = here.recv()
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGINT)
    time.sleep(0.3)
    assert all(alive(pid) for pid in workers)
    parent.kill()
    parent.join()
    deadline = time.time() + 20
    while any(alive(pid) for pid in workers):
        assert time.time() < deadline, 'workers outlive their parent'
        time.sleep(0.2)
