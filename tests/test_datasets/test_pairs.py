from __future__ import annotations

import numpy as np
import pytest
import torch

from sparc_vlm.datasets import PairDataset, PairTransform, collate
from sparc_vlm.datasets.report import new_report
from sparc_vlm.datasets.transforms import random_box
from sparc_vlm.preprocess import to_tensor
from sparc_vlm.structures import TokenBatch
from tests.test_datasets.made import ListSource, picture, tokenizer

TOKENIZER = tokenizer()


def dataset(source=None, **options):
    source = ListSource() if source is None else source
    return PairDataset(source, TOKENIZER, image_size=16, **options)


def same(a, b):
    return torch.equal(a.image, b.image) and a.tokens == b.tokens


def test_a_pair_depends_on_its_number_alone():
    texts = {i: [f'a {i}', f'the {i}', f'one {i}'] for i in range(20)}
    options = {'crop_scale': (0.3, 1.0), 'flip': True, 'seed': 5}
    a = dataset(ListSource(texts=texts), **options)
    b = dataset(ListSource(texts=texts), **options)
    pairs = [(i, 100 + i) for i in range(20)]
    first = {pair: a[pair] for pair in pairs}
    assert all(same(first[pair], b[pair]) for pair in reversed(pairs))
    assert sum(same(a[3, n], a[3, n + 1]) for n in range(20)) < 5


def test_another_seed_makes_other_choices():
    a, b = (
        dataset(crop_scale=(0.3, 1.0)),
        dataset(crop_scale=(0.3, 1.0), seed=1),
    )
    assert not any(torch.equal(a[i, i].image, b[i, i].image) for i in range(9))


def test_every_caption_is_chosen():
    source = ListSource(texts={0: ['red dog', 'blue cat', 'green ball']})
    pairs = dataset(source)
    chosen = [tuple(pairs[0, n].tokens.ids) for n in range(60)]
    assert len(set(chosen)) == 3
    assert min(chosen.count(ids) for ids in set(chosen)) > 8


def test_a_broken_picture_is_replaced_and_counted():
    pairs = dataset(ListSource(broken=[4]))
    pair = pairs[4, 0]
    assert pair.report['broken_images'] == 1
    assert pair.report['examples'] == ['4.png: made so']
    assert pair.report['pairs'] == 1
    assert same(pair, pairs[4, 0])
    replaced = {tuple(pairs[4, n].image.flatten().tolist()) for n in range(9)}
    assert len(replaced) > 4


def test_empty_captions_are_passed_over():
    source = ListSource(texts={0: ['', 'red dog', ' \t\n'], 1: ['', '']})
    pairs = dataset(source)
    for draw in range(10):
        assert pairs[0, draw].tokens.ids == TOKENIZER.encode('red dog').ids
        assert source.read[-1] == 0
    reports = [pairs[0, draw].report for draw in range(10)]
    assert {report['empty_captions'] for report in reports} == {0, 1, 2}
    pair = pairs[1, 0]
    assert pair.report['empty_captions'] >= 2
    assert '1.png' in pair.report['examples'][0]
    assert 1 not in source.read


def test_a_picture_without_captions_is_replaced():
    pair = dataset(ListSource(texts={2: []}))[2, 0]
    assert pair.report['empty_captions'] == 1
    assert '2.png: no caption' in pair.report['examples']


def test_long_captions_are_cut_and_counted():
    pair = dataset(ListSource(texts={0: ['red dog ' * 30]}))[0, 0]
    assert len(pair.tokens.ids) == TOKENIZER.max_length == 12
    assert pair.report['truncated_captions'] == 1


def test_nothing_but_broken_pictures_is_an_error():
    with pytest.raises(RuntimeError, match='png: made so.*looked for'):
        dataset(ListSource(count=3, broken=range(3)))[0, 0]
    with pytest.raises(ValueError, match='no pictures'):
        dataset(ListSource(count=0))


def test_pictures_without_augmentation_are_as_the_model_sees_them():
    pair = dataset()[6, 0]
    assert pair.image.dtype == torch.uint8
    expected = to_tensor(picture(6).resize((16, 16), 3))
    assert torch.equal(pair.image, expected)


def test_flip_mirrors_half():
    pairs, plain = dataset(flip=True), dataset()[3, 0].image
    kinds = []
    for draw in range(60):
        image = pairs[3, draw].image
        kinds.append(torch.equal(image, plain))
        assert kinds[-1] or torch.equal(image, plain.flip(2))
    assert 15 < sum(kinds) < 45


def test_random_boxes_keep_to_the_picture_and_the_scale():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        left, top, right, bottom = random_box((64, 48), (0.2, 0.9), rng)
        assert 0 <= left < right <= 64 + 1e-9
        assert 0 <= top < bottom <= 48 + 1e-9
        shares.append((right - left) * (bottom - top) / (64 * 48))
    assert 0.19 < min(shares) < 0.3 and 0.7 < max(shares) <= 0.9 + 1e-9


def test_crops_ask_for_enough_pixels():
    assert PairTransform(TOKENIZER, 32).at_least == 32
    assert PairTransform(TOKENIZER, 32, crop_scale=(0.25, 1)).at_least == 64
    with pytest.raises(ValueError, match='crop_scale'):
        PairTransform(TOKENIZER, 32, crop_scale=(0.5, 0.2))
    with pytest.raises(ValueError, match='crop_scale must be.* got 0.5'):
        PairTransform(TOKENIZER, 32, crop_scale=0.5)
    with pytest.raises(ValueError, match="'stretch' or 'crop', got 'croop'"):
        PairTransform(TOKENIZER, 32, resize='croop')


def test_a_batch_holds_no_padding():
    pairs = dataset(ListSource(texts={0: ['red'], 1: ['a red dog']}))
    samples = [pairs[0, 0], pairs[1, 1]]
    batch = collate(samples)
    assert batch['images'].shape == (2, 3, 16, 16)
    assert isinstance(batch['tokens'], TokenBatch)
    ids = [len(sample.tokens.ids) for sample in samples]
    assert batch['tokens'].lengths.tolist() == ids
    assert len(batch['tokens'].ids) == sum(ids)
    assert batch['tokens'].real is None
    words = samples[0].tokens.words + samples[1].tokens.words
    assert batch['tokens'].words.tolist() == words
    assert batch['report'] == {**new_report(), 'pairs': 2}


def test_marks_are_kept_apart():
    pairs = dataset()
    sample = pairs[0, 0]
    count = len(sample.tokens.ids)
    real = [False] + [True] * (count - 2) + [False]
    words = [None, *sample.tokens.words[1:-1], None]
    marked = sample._replace(
        tokens=sample.tokens._replace(real=real, words=words)
    )
    batch = collate([sample, marked])
    assert batch['tokens'].real.tolist() == [True] * count + real
    assert batch['tokens'].words[count] == batch['tokens'].words[-1] == -1
