"""Batches of like length: the same pairs, less padding, exact resumption."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from sparc_vlm.datasets import PairLoader
from sparc_vlm.datasets.grouping import ByLength
from sparc_vlm.registry import LOADERS
from tests.test_datasets.made import ListSource
from tests.test_datasets.test_loader import be, make


class Texts(Dataset):
    """Texts of very different lengths; each pair is its place alone."""

    def __init__(self, count=50):
        self.source = ListSource(count=count)

    def __len__(self):
        return len(self.source)

    def length(self, place):
        index, draw = place
        return 7 * index % 31 + draw % 3

    def __getitem__(self, place):
        return place

    @staticmethod
    def collate(places):
        report = ListSource().reading
        return {'places': torch.tensor(places), 'report': report}


def loader(batch_size=4, group=5, **options):
    return PairLoader(Texts(), batch_size, group=group, **options)


def take(batches, count):
    taken = itertools.islice(batches, count)
    return [batch['places'].tolist() for batch in taken]


def lengths(batch):
    return [Texts().length(place) for place in batch]


def padding(batches):
    """Share of the batches' room that is padding."""
    rows = [lengths(batch) for batch in batches]
    room = sum(max(row) * len(row) for row in rows)
    return 1 - sum(map(sum, rows)) / room


def test_each_group_has_the_pairs_that_it_would_have_without():
    grouped, plain = take(loader(), 20), take(loader(group=1), 20)
    for start in range(0, 20, 5):
        parts = (sum(b[start : start + 5], []) for b in (grouped, plain))
        assert len({tuple(sorted(map(tuple, part))) for part in parts}) == 1
    assert grouped != plain


def test_a_batch_holds_neighbours_in_length():
    batches = take(loader(), 5)
    ordered = sorted(map(sorted, map(lengths, batches)))
    for shorter, longer in itertools.pairwise(ordered):
        assert shorter[-1] <= longer[0]
    assert padding(take(loader(), 20)) < 0.5 * padding(
        take(loader(group=1), 20)
    )


def test_batches_are_not_dealt_out_from_short_to_long():
    orders = []
    batches = take(loader(), 40)
    for start in range(0, 40, 5):
        group = [sum(lengths(b)) for b in batches[start : start + 5]]
        orders.append(tuple(np.argsort(group).tolist()))
    assert len(set(orders)) > 4


def test_the_seed_decides():
    first = take(loader(seed=3), 7)
    assert take(loader(seed=3), 7) == first
    assert take(loader(seed=4), 7) != first


@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('done', [3, 5, 12])
def test_goes_on_where_it_was(done, num_workers):
    whole = take(loader(num_workers=num_workers), done + 9)
    begun = loader(num_workers=num_workers)
    take(begun, done)
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    resumed = loader(num_workers=num_workers)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert take(resumed, 9) == whole[done:]


def test_processes_share_each_batch(monkeypatch):
    alone, parts = take(loader(batch_size=6), 10), []
    for rank in range(3):
        be(monkeypatch, rank, 3)
        parts.append(take(loader(batch_size=2), 10))
    for batch, *shares in zip(alone, *parts, strict=True):
        dealt = [p for row in zip(*shares, strict=True) for p in row]
        assert dealt == batch
        # All wait for the longest.
        longest = [max(lengths(share)) for share in shares]
        assert max(longest) - min(longest) <= 4


def test_other_batches_are_refused():
    state = loader().state_dict()
    for other, said in (
        (loader(batch_size=2), 'global_batch=4 and now have 2'),
        (loader(group=6), 'group=5 and now have 6'),
        (loader(group=1), 'group=5 and now have None'),
    ):
        with pytest.raises(ValueError, match=said):
            other.load_state_dict(state)
    ungrouped = loader(group=1).state_dict()
    with pytest.raises(ValueError, match='group=None and now have 5'):
        loader().load_state_dict(ungrouped)


def test_what_has_no_length_is_not_grouped():
    with pytest.raises(ValueError, match='PairDataset have no length'):
        make(group=2)
    with pytest.raises(ValueError, match='1 or more, got 4 and 0'):
        loader(group=0)


def test_built_from_a_config():
    built = LOADERS.build(
        dict(type='PairLoader', dataset=Texts(), batch_size=4, group=5)
    )
    assert take(built, 7) == take(loader(), 7)


def test_equals_stay_in_order():
    order = ByLength(2, 3, lambda draws: [1] * len(draws), 0)
    rows = [order.batch(at).tolist() for at in (6, 8, 10)]
    assert sorted(rows) == [[6, 7], [8, 9], [10, 11]]
