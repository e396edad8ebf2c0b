from pathlib import Path

import numpy as np
import pytest
import torch

from sparc_vlm.evaluation import Classification
from sparc_vlm.evaluation.labelled import (
    class_metrics,
    distinct,
    guessing,
    rank_labels,
)
from sparc_vlm.evaluation.prompts import (
    ENSEMBLE,
    ONE,
    PREFIXES,
    SUFFIXES,
    class_embeddings,
    prompt_list,
)
from sparc_vlm.registry import TASKS
from tests.test_evaluation.colour_world import NOUNS, Boards, ColourModel
from tests.test_evaluation.labelled_world import (
    Labelled,
    VectorModel,
    Vectors,
)


def test_a_model_that_knows_everything():
    source = Labelled([(noun, n) for n, noun in enumerate(NOUNS)])
    task = TASKS.build(
        dict(type='Classification', dataset=source, prompts='a {}', ks=(1, 2))
    )
    result = task.run(ColourModel((2, 2)))
    assert result.metrics == {
        'top1': 100,
        'top2': 100,
        'top1_class_mean': 100,
    }
    assert result.chance == {'top1': 25, 'top2': 50, 'top1_class_mean': 25}
    assert result.per_class == dict.fromkeys(NOUNS, 100)
    assert result.samples[1] == {
        'key': 'board-1',
        'label': 'leaf',
        'predicted': 'leaf',
        'rank': 1,
        'top1': 1,
        'top2': 1,
    }
    assert result.to_json()['per_class']['sea'] == 100


def test_hand_worked_case():
    """Four classes in the plane; the third picture's label comes third."""
    texts = {
        'n': [0.0, 9.0],
        'ne': [0.1, 0.1],
        'e': [5.0, 0.0],
        's': [0.0, -1.0],
    }
    rows = [[0.1, 1.0], [3.0, 0.2], [1.0, 0.9], [0.0, -2.0]]
    source = Vectors(rows, [0, 1, 0, 3], texts)
    result = Classification(source, '{}', ks=(1, 2, 3)).run(VectorModel(texts))
    assert [s['rank'] for s in result.samples] == [1, 2, 3, 1]
    predicted = [s['predicted'] for s in result.samples]
    assert predicted == ['n', 'e', 'ne', 's']
    assert result.metrics == pytest.approx(
        {
            'top1': 50,
            'top2': 75,
            'top3': 100,
            # n: one of two, ne: none of one, s: one of one
            'top1_class_mean': 100 * (0.5 + 0 + 1) / 3,
        }
    )
    assert result.per_class == {'n': 50, 'ne': 0, 's': 100}


def test_classes_that_tie_stand_in_random_order():
    # the label ties with one other, and one stands above both
    scores = torch.tensor([[0.5, 0.5, 0.9, 0.1]])
    ranks = rank_labels(scores, torch.tensor([0]))
    assert ranks.expected.tolist() == [2.5]
    recalls = [ranks.recall(k).item() for k in (1, 2, 3)]
    assert recalls == pytest.approx([0, 0.5, 1])


def test_ranks_agree_with_all_orders():
    """Slow twin: sort with ties broken in every possible way."""
    random = np.random.default_rng(0)
    scores = random.integers(0, 3, (20, 5)) / 10
    labels = random.integers(0, 5, 20)
    ranks = rank_labels(torch.tensor(scores), torch.tensor(labels))
    for row, label in enumerate(labels):
        keys = scores[row] + random.random((4000, 5)) * 1e-3
        places = 1 + (keys > keys[:, label, None]).sum(1)
        assert ranks.expected[row] == pytest.approx(np.mean(places), abs=0.1)
        for k in (1, 3):
            share = np.mean(places <= k)
            assert ranks.recall(k)[row] == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize('value', [1.0, torch.nan])
def test_a_model_that_tells_nothing_apart_scores_chance(value):
    source = Vectors(torch.full((6, 3), value), [0, 1, 2] * 2, 'abc')
    model = VectorModel({name: [1.0, 1.0, 1.0] for name in 'abc'})
    result = Classification(source, '{}').run(model)
    assert result.metrics == pytest.approx(result.chance)
    bad = result.skipped.get('embeddings that are not finite', 0)
    assert bad == (0 if value == 1 else 6)


def test_names_that_repeat_tie_and_are_told_apart():
    assert distinct(['crane', 'dog', 'crane']) == [
        'crane (0)',
        'dog',
        'crane (2)',
    ]
    texts = {'crane': [1.0, 0.0], 'dog': [0.0, 1.0]}
    source = Vectors([[1, 0]] * 2, [0, 2], ['crane', 'dog', 'crane'])
    result = Classification(source, '{}').run(VectorModel(texts))
    assert result.metrics['top1'] == pytest.approx(50)
    assert result.per_class == {'crane (0)': 50, 'crane (2)': 50}


def test_prompts():
    assert prompt_list('one') == [ONE]
    assert prompt_list('one {}') == ['one {}']
    assert prompt_list(['{} a', '{} b', '{} a']) == ['{} a', '{} b']
    ensemble = prompt_list('ensemble')
    assert len(ensemble) == len(PREFIXES) * len(SUFFIXES) == len(set(ensemble))
    assert ensemble == list(ENSEMBLE)
    assert 'a photo of a {}, I like it' in ensemble
    assert '{}' in ensemble and '{}, I like it' in ensemble
    for bad in ('once', [], ['{}', 'none']):
        with pytest.raises(ValueError, match="prompts are 'one', 'ensemble'"):
            prompt_list(bad)


def test_the_ensemble_is_the_mean_of_directions():
    texts = {'a {x}': [2.0, 0], 'one a': [0, 7.0]}
    texts |= {'b {x}': [0, 5.0], 'one b': [0, 0.1]}
    told = []
    model = VectorModel(texts)
    found = class_embeddings(
        model,
        ['a', 'b'],
        ['{} {x}', 'one {}'],
        1,
        lambda *args: told.append(args),
    )
    # the lengths 2 and 7 count nothing
    half = 0.5**0.5
    assert found.flatten().tolist() == pytest.approx([half, half, 0, 1])
    assert model.asked == ['a {x}', 'b {x}', 'one a', 'one b']
    assert told == [('class names', n, 4) for n in (1, 2, 3, 4)]


def test_ensemble_agrees_with_the_mean_of_normalised_texts():
    random = np.random.default_rng(0)
    texts = {
        prompt.replace('{}', name): random.normal(size=5)
        for prompt in ENSEMBLE
        for name in 'abc'
    }
    found = class_embeddings(VectorModel(texts), 'abc', ENSEMBLE, 7)
    for row, name in zip(found, 'abc', strict=True):
        rows = [texts[p.replace('{}', name)] for p in ENSEMBLE]
        mean = np.mean([r / np.linalg.norm(r) for r in rows], 0)
        expected = (mean / np.linalg.norm(mean)).tolist()
        assert row.tolist() == pytest.approx(expected, abs=1e-5)


def test_groups_are_averaged_and_told_one_by_one():
    groups = ['fog/1'] * 3 + ['fog/5', 'snow/5', 'snow/5']
    right = [1, 1, 1, 0, 1, 0]
    # a picture is right where it shows its label's noun
    rows = [('ruby' if hit else 'sea', 0) for hit in right]
    source = Labelled(rows, groups=groups)
    result = Classification(source, 'a {}', ks=(1,)).run(ColourModel((2, 2)))
    assert result.metrics == pytest.approx(
        {
            'top1': 100 * (1 + 0 + 0.5) / 3,
            'top1_class_mean': 100 * (1 + 0 + 0.5) / 3,
            'top1/fog': 50,
            'top1/fog/1': 100,
            'top1/fog/5': 0,
            'top1/snow': 50,
            'top1/snow/5': 50,
        }
    )
    assert result.chance == dict.fromkeys(result.metrics, 25)
    assert result.samples[3]['group'] == 'fog/5'
    alone = Labelled(rows, groups=[''] * 6)
    result = Classification(alone, 'a {}', ks=(1,)).run(ColourModel((2, 2)))
    assert set(result.metrics) == {'top1', 'top1_class_mean'}
    assert result.metrics['top1'] == pytest.approx(100 * 4 / 6)


def test_metrics_of_groups_of_equal_size_are_those_of_all():
    samples = [
        {'label': 'a', 'top1': float(n % 2), 'group': f'g{n % 3}'}
        for n in range(12)
    ]
    plain = [{k: v for k, v in s.items() if k != 'group'} for s in samples]
    by_group = class_metrics(samples, (1,))
    assert by_group['top1'] == pytest.approx(
        class_metrics(plain, (1,))['top1']
    )
    assert guessing({'top5/a_b/c': 0, 'top12': 0}, 10) == {
        'top5/a_b/c': 50,
        'top12': 100,
    }


def test_broken_and_unlabelled_pictures_are_counted():
    source = Labelled([('ruby', 0), ('sea', -1), ('sea', 2), ('sun', 3)])
    source.boards[2].broken = True
    result = Classification(source, 'a {}').run(ColourModel((2, 2)))
    assert result.skipped == {
        'broken pictures': 1,
        'pictures without one label': 1,
    }
    assert [s['key'] for s in result.samples] == ['board-0', 'board-3']
    source.labels = [-1] * 4
    with pytest.raises(ValueError, match='no picture has one label'):
        Classification(source, 'a {}').run(ColourModel((2, 2)))


def test_chunks_stay_small_and_autocast_changes_nothing():
    source = Labelled([(NOUNS[n % 4], n // 4) for n in range(16)])
    model = ColourModel((2, 2))
    plain = Classification(source, 'a {}', batch_size=3).run(model)
    assert model.largest_batch == 3
    with torch.autocast('cpu', dtype=torch.bfloat16):
        cast = Classification(source, 'a {}').run(model)
    assert cast == plain


def test_sources_that_cannot_be_used():
    boards = Boards(Labelled([('ruby', 0)]).boards)
    with pytest.raises(ValueError, match='Boards has no classes'):
        Classification(boards)
    with pytest.raises(ValueError, match='has 1 classes'):
        Classification(Labelled([('ruby', 0)], ['a']))
    with pytest.raises(ValueError, match='class 1 of the dataset has no name'):
        Classification(Labelled([('ruby', 0)], ['a', ' ']))
    with pytest.raises(ValueError, match='ks must be'):
        Classification(Labelled([('ruby', 0)]), ks=(0,))


def test_the_documentation_lists_the_ensemble():
    docs = Path(__file__).parents[2] / 'docs/evaluation_classification.md'
    text = docs.read_text()
    table = text.split('| prefixes | suffixes |\n|---|---|\n')[1]
    rows = [row.split('|') for row in table.split('\n\n')[0].splitlines()]
    for column, expected in ((1, PREFIXES), (2, SUFFIXES)):
        cells = [row[column].strip() for row in rows if row[column].strip()]
        cells = ['' if cell == '(none)' else cell for cell in cells]
        assert cells == [part.strip() for part in expected]
    assert f'{len(ENSEMBLE)} wordings' in ' '.join(text.split())
    assert f'`{ONE}`' in text
