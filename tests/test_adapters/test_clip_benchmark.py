import sys

import numpy as np
import pytest
import torch
from clip_benchmark import cli
from clip_benchmark.datasets.builder import image_captions_collate_fn
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval
from clip_benchmark.models import load_clip
from torch.utils.data import DataLoader

import sparc_vlm
from sparc_vlm.adapters import clip_benchmark as adapter
from sparc_vlm.evaluation import Classification, Retrieval
from tests.test_evaluation.colour_world import NOUNS, some_boards
from tests.test_evaluation.labelled_world import Labelled
from tests.test_models.tiny_models import WORDS
from tests.test_study.made import save_model

TEXTS = ['a red circle', 'größer als 2', '']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return str(save_model(tmp_path_factory.mktemp('saved')))


@pytest.fixture(scope='module')
def loaded(folder):
    """As clip_benchmark itself loads it."""
    adapter.register()
    return load_clip('sparc_vlm', 'any', folder, '', 'cpu')


class Pairs(list):
    """Pictures and labels or captions; with classes where they have some."""

    classes = NOUNS


def test_texts_travel_as_bytes():
    letters = adapter.as_bytes(TEXTS)
    assert letters.dtype == torch.int64
    assert adapter.from_bytes(letters) == TEXTS
    assert adapter.from_bytes(adapter.as_bytes('one')) == ['one']


def test_embeddings_are_ours(loaded, folder):
    model, transform, tokenizer = loaded
    ours = sparc_vlm.load(folder)
    picture = some_boards(1).image(0)
    with torch.no_grad():
        torch.testing.assert_close(
            model.encode_image(transform(picture)[None]),
            ours.encode_image(picture).image,
        )
        torch.testing.assert_close(
            model.encode_text(tokenizer(['a red circle', 'two'])),
            ours.encode_text(['a red circle', 'two']).text,
        )


def test_classification_agrees_with_ours(loaded, folder):
    model, transform, tokenizer = loaded
    rows = [(NOUNS[n % 4], (n // 3) % 4) for n in range(20)]
    source = Labelled(rows)
    pairs = Pairs((transform(source.image(n)), rows[n][1]) for n in range(20))
    theirs = zeroshot_classification.evaluate(
        model,
        DataLoader(pairs, batch_size=8),
        tokenizer,
        NOUNS,
        ['a red {c}', '{c} of two'],
        'cpu',
        amp=False,
    )
    task = Classification(source, prompts=['a red {}', '{} of two'])
    ours = task.run(sparc_vlm.load(folder)).metrics
    assert 0 < ours['top1'] < 100
    assert ours['top1'] == pytest.approx(100 * theirs['acc1'])
    assert ours['top1_class_mean'] == pytest.approx(
        100 * theirs['mean_per_class_recall']
    )


def test_retrieval_agrees_with_ours(loaded, folder):
    model, transform, tokenizer = loaded
    source = some_boards(20)
    random = np.random.default_rng(0)
    for board in source.boards:
        # Different words, so that no two captions tie.
        for number in range(5):
            board.captions[number] = ' '.join(random.permutation(WORDS)[:6])
    pairs = Pairs(
        (transform(source.image(n)), source.captions(n)) for n in range(20)
    )
    theirs = zeroshot_retrieval.evaluate(
        model,
        DataLoader(pairs, 8, collate_fn=image_captions_collate_fn),
        tokenizer,
        'cpu',
        amp=False,
        recall_k_list=[1, 5, 10],
    )
    found = Retrieval(source).run(sparc_vlm.load(folder))
    # Nothing ties, or else the two would differ in what they count.
    ranks = [s['i2t_rank'] for s in found.samples]
    ranks += [rank for s in found.samples for rank in s['t2i_ranks']]
    assert {rank % 1 for rank in ranks} == {0}
    for k in (1, 5, 10):
        for way, name in (('i2t', 'text'), ('t2i', 'image')):
            assert found.metrics[f'{way}_r{k}'] == pytest.approx(
                100 * theirs[f'{name}_retrieval_recall@{k}'], abs=1e-4
            )


def test_their_command_knows_our_models(monkeypatch, folder):
    """Up to where it would open its data."""
    asked = []
    monkeypatch.setattr(cli, 'main_eval', asked.append)
    given = ['clip_benchmark', 'eval', '--model_type', 'sparc_vlm']
    monkeypatch.setattr(sys, 'argv', [*given, '--pretrained', folder])
    with pytest.raises(SystemExit) as ended:
        adapter.main()
    assert not ended.value.code
    assert asked[0].model_type == 'sparc_vlm'
