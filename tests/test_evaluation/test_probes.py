import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from sparc_vlm.evaluation import KnnProbe, LinearProbe
from sparc_vlm.evaluation.features import encode_features, match_classes
from sparc_vlm.evaluation.logistic import (
    choose_classifier,
    fit_classifier,
    hold_out,
)
from sparc_vlm.evaluation.neighbours import nearest, vote
from sparc_vlm.evaluation.ranking import unit_rows
from sparc_vlm.evaluation.tasks import probes
from sparc_vlm.registry import TASKS
from tests.test_evaluation.colour_world import NOUNS, ColourModel
from tests.test_evaluation.labelled_world import (
    Labelled,
    VectorModel,
    Vectors,
)


def clouds(count, seed, spread=1.0, classes='abc', size=4):
    """Overlapping clouds of features around one centre a class."""
    centres = np.random.default_rng(99).normal(size=(len(classes), size))
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(classes), count)
    rows = centres[labels] + spread * random.normal(size=(count, size))
    # features of very different size
    rows = rows * np.logspace(-2, 2, size) + 3
    return Vectors(rows, labels.tolist(), classes)


@pytest.mark.parametrize('penalty', [1e-3, 1.0])
def test_fit_agrees_with_scipy(penalty):
    source = clouds(60, 0)
    labels = np.array(source.labels)
    found = fit_classifier(source.rows, torch.tensor(labels), 3, penalty)
    rows = source.rows.double().numpy()
    rows = (rows - rows.mean(0)) / rows.std(0)

    def loss(flat):
        weights, bias = flat[:12].reshape(4, 3), flat[12:]
        logits = rows @ weights + bias
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        mean = -logs[np.arange(60), labels].mean()
        return mean + penalty / 2 * (weights**2).sum()

    best = minimize(loss, np.zeros(15), method='BFGS', tol=1e-9)
    mine = np.concatenate([found.weights.flatten(), found.bias])
    assert loss(mine) == pytest.approx(best.fun, abs=1e-7)
    weights = best.x[:12].reshape(4, 3)
    assert found.weights.numpy() == pytest.approx(weights, abs=2e-3)


def test_chunks_of_rows_change_nothing(monkeypatch):
    source = clouds(50, 1)
    labels = torch.tensor(source.labels)
    whole = fit_classifier(source.rows, labels, 3, 0.1)
    monkeypatch.setattr('sparc_vlm.evaluation.logistic.ROWS', 7)
    parts = fit_classifier(source.rows, labels, 3, 0.1)
    assert torch.allclose(whole.weights, parts.weights, atol=1e-5)
    measured = parts.measure(source.rows, labels)
    monkeypatch.undo()
    assert whole.measure(source.rows, labels) == pytest.approx(
        measured, abs=1e-5
    )
    scores = whole.scores(source.rows)
    right = (scores.argmax(1) == labels).float().mean().item()
    assert measured[0] == pytest.approx(right)
    assert scores.exp().sum(1).tolist() == pytest.approx([1] * 50)


def test_where_it_begins_and_grad_modes_change_nothing():
    source = clouds(50, 1)
    labels = torch.tensor(source.labels)
    plain = fit_classifier(source.rows, labels, 3, 0.1)
    other = fit_classifier(source.rows, labels, 3, 10.0)
    with torch.inference_mode():
        warm = fit_classifier(source.rows, labels, 3, 0.1, other)
    assert torch.allclose(plain.weights, warm.weights, atol=1e-4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        cast = fit_classifier(source.rows, labels, 3, 0.1)
    assert torch.equal(plain.weights, cast.weights)


def test_features_that_do_not_vary_do_no_harm():
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    labels = (rows[:, 0] > 0).long()
    constant = torch.cat([rows, torch.full((20, 1), 1e4)], 1)
    found = fit_classifier(constant, labels, 2, 0.1)
    assert torch.isfinite(found.weights).all()
    assert found.weights[3].abs().max() < 1e-6
    same = fit_classifier(rows, labels, 2, 0.1)
    assert torch.allclose(found.weights[:3], same.weights, atol=1e-4)


def test_hold_out_takes_a_share_of_each_class():
    labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 2 + [3])
    held = hold_out(labels, 0.2, 0)
    assert [int(held[labels == n].sum()) for n in range(4)] == [2, 1, 1, 0]
    assert torch.equal(held, hold_out(labels, 0.2, 0))
    assert not torch.equal(held, hold_out(labels, 0.2, 1))
    assert hold_out(torch.tensor([0, 0]), 0.99, 0).sum() == 1
    with pytest.raises(ValueError, match='no class has two training'):
        hold_out(torch.tensor([0, 1]), 0.2, 0)


def test_the_penalty_is_the_best_on_the_held_out_part():
    source = clouds(40, 2, spread=2.0, size=12)
    labels = torch.tensor(source.labels)
    held = hold_out(labels, 0.3, 0)
    penalties = (1e-4, 1e-2, 1e-1, 1.0)
    told = []
    found, settings = choose_classifier(
        source.rows,
        labels,
        3,
        held,
        penalties,
        progress=lambda *args: told.append(args),
    )
    measured = {}
    for penalty in penalties:
        one = fit_classifier(source.rows[~held], labels[~held], 3, penalty)
        accuracy, loss = one.measure(source.rows[held], labels[held])
        measured[penalty] = accuracy, -loss
    best = max(measured, key=measured.get)
    assert len({value[0] for value in measured.values()}) > 1
    assert settings == pytest.approx(
        {
            'penalty': best,
            'held_out_top1': 100 * measured[best][0],
            'tried_from': 1e-4,
            'tried_to': 1.0,
        }
    )
    whole = fit_classifier(source.rows, labels, 3, best)
    assert torch.allclose(found.weights, whole.weights, atol=1e-3)
    assert told == [('penalties', n, 5) for n in range(1, 6)]


def test_linear_probe():
    train, test = clouds(90, 3), clouds(60, 4)
    model = VectorModel()
    task = TASKS.build(
        dict(
            type='LinearProbe',
            dataset=test,
            train=train,
            batch_size=8,
            penalties=(1e-2, 1.0),
        )
    )
    result = task.run(model)
    assert model.largest_batch == 8
    labels = torch.tensor(train.labels)
    found = fit_classifier(
        train.rows, labels, 3, result.settings['penalty']
    ).scores(test.rows)
    right = found.argmax(1) == torch.tensor(test.labels)
    assert result.metrics['top1'] == pytest.approx(
        100 * right.float().mean().item()
    )
    assert result.metrics['top1'] > result.chance['top1'] + 20
    assert result.chance['top1'] == pytest.approx(100 / 3)
    # test labels are not looked at while fitting
    test.labels = test.labels[::-1]
    again = LinearProbe(test, train, penalties=(1e-2, 1.0)).run(model)
    assert again.settings == result.settings
    predicted = [sample['predicted'] for sample in again.samples]
    assert predicted == [sample['predicted'] for sample in result.samples]


def test_where_it_is_fitted(monkeypatch):
    """No GPU is asked for, but what would be handed to it is."""
    fitted = []

    def choose(*given):
        fitted.append(given[5])
        return choose_classifier(*given[:5], 'cpu', *given[6:])

    monkeypatch.setattr(probes, 'choose_classifier', choose)
    LinearProbe(clouds(9, 3), clouds(30, 4), device='cuda').run(VectorModel())
    assert fitted == ['cuda']


def test_features_are_the_image_or_the_mean_of_the_patches():
    source = clouds(5, 0)
    model = VectorModel(twice=3.0)
    broken = {}
    for features, factor in (('image', 1), ('patches', 2)):
        kept, rows = encode_features(
            model, source, [4, 1, 2], 2, features, broken
        )
        assert kept == [4, 1, 2] and not broken
        assert torch.allclose(rows, factor * source.rows[[4, 1, 2]])
    with pytest.raises(ValueError, match="'image' or 'patches', not 'dense'"):
        LinearProbe(source, source, features='dense')


def test_nearest_agrees_with_a_sort():
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(5, 6, generator=generator)
    bank = unit_rows(torch.randn(40, 6, generator=generator))
    cosine = torch.nn.functional.cosine_similarity(
        queries[:, None], bank[None], dim=2
    )
    order = cosine.argsort(1, descending=True)[:, :7]
    for block in (3, 7, 100):
        values, rows = nearest(queries, bank, 7, block)
        assert torch.equal(rows, order)
        assert torch.allclose(values, cosine.gather(1, order), atol=1e-6)


def test_votes_by_hand():
    cosine = torch.tensor([[0.9, 0.8, 0.8]])
    labels = torch.tensor([[0, 1, 1]])
    first, second = np.exp(0.9 / 0.1), 2 * np.exp(0.8 / 0.1)
    shares = vote(cosine, labels, 3, 0.1)
    assert shares[0].tolist() == pytest.approx(
        [first / (first + second), second / (first + second), 0]
    )
    # the nearest wins if the temperature is low, the two others if it is not
    assert shares.argmax() == 0
    assert vote(cosine, labels, 3, 1.0).argmax() == 1


def test_knn_probe_by_hand():
    train = Vectors([[1, 0], [0.9, 0.1], [0, 5], [-1, 0]], [0, 0, 1, 2], 'abc')
    test = Vectors([[3, 0.1], [0.5, 0.6], [-1, 0.1]], [0, 1, 0], 'abc')
    result = KnnProbe(test, train, k=1).run(VectorModel())
    predicted = [s['predicted'] for s in result.samples]
    assert predicted == ['a', 'b', 'c']
    assert result.metrics['top1'] == pytest.approx(200 / 3)
    # with k = 1 all other classes have no vote, and tie
    assert result.samples[2]['rank'] == 2.5
    every = KnnProbe(test, train, k=100, temperature=0.5).run(VectorModel())
    assert every.settings == {'k': 4, 'temperature': 0.5}
    weights = np.exp(np.array([5, 5.4, 6, -5]) / np.hypot(5, 6) / 0.5)
    weights[1] = np.exp(
        (0.45 + 0.06) / np.hypot(0.5, 0.6) / np.hypot(0.9, 0.1) / 0.5
    )
    assert (weights[0] + weights[1] > weights[2]) == (
        every.samples[1]['predicted'] == 'a'
    )


def test_probes_of_pictures_report_what_is_left_out():
    train = Labelled([(NOUNS[n % 4], n % 4) for n in range(16)])
    test = Labelled([('sea', 0), ('ruby', 1), ('sea', -1)], ['sea', 'ruby'])
    train.boards[3].broken = True
    train.labels[5] = -1
    for probe in (LinearProbe, KnnProbe):
        options = {'penalties': (0.1,)} if probe is LinearProbe else {}
        result = probe(test, train, **options).run(ColourModel((2, 2)))
        # classes of the training pictures, met by name
        assert [s['label'] for s in result.samples] == ['sea', 'ruby']
        assert result.metrics['top1'] == 100
        assert result.chance['top1'] == 25
        assert result.skipped == {
            'broken training pictures': 1,
            'pictures without one label': 2,
        }


def test_training_pictures_can_be_fewer():
    train = Labelled([(NOUNS[n % 4], n % 4) for n in range(16)])
    train.reads.clear()
    KnnProbe(train, train, max_images=1, max_train_images=3).run(
        ColourModel((2, 2))
    )
    assert set(train.reads) == {0, 5, 10}


def test_classes_are_matched_by_name():
    assert match_classes(['x', 'x'], ['x', 'x'], 't').tolist() == [0, 1]
    assert match_classes('abc', 'ca', 't').tolist() == [2, 0]
    with pytest.raises(ValueError, match="'d' is not among the 3 classes"):
        match_classes('abc', 'ad', 't')
    with pytest.raises(ValueError, match='have the same name'):
        match_classes('aba', 'a', 't')
    # What nobody asks for leaves nothing open.
    assert match_classes('aba', 'b', 't').tolist() == [1]


def test_options_out_of_range_are_refused():
    source = clouds(5, 0)
    for options in ({'penalties': ()}, {'penalties': [-1]}, {'held_out': 1}):
        with pytest.raises(ValueError, match='penalties must be numbers'):
            LinearProbe(source, source, **options)
    for options in ({'k': 0}, {'temperature': 0}):
        with pytest.raises(ValueError, match='must be at least 1, and temp'):
            KnnProbe(source, source, **options)
    with pytest.raises(ValueError, match='max_train_images must be'):
        KnnProbe(source, source, max_train_images=0)


def test_a_diverged_model_is_no_number():
    source = clouds(5, 0)
    source.rows[2] = torch.nan
    with pytest.raises(ValueError, match='it has diverged'):
        KnnProbe(source, source).run(VectorModel())
