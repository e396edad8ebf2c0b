import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from sparc_vlm.datasets import Scenes
from sparc_vlm.evaluation import Foils
from sparc_vlm.evaluation.pair_scores import (
    aligned_scores,
    best_patch_scores,
    global_scores,
)
from sparc_vlm.evaluation.samples import scores_of
from sparc_vlm.models.alignment import group_patches, sparse_alignment
from sparc_vlm.structures import ImageEmbeddings, TextEmbeddings
from tests.test_evaluation.colour_world import Board, Boards, ColourModel


@dataclass
class Foiled(Boards):
    """Boards with foils: (kind, caption, foil) of each."""

    rows: list = field(default_factory=list)

    def foils(self, index):
        names = ('kind', 'caption', 'foil')
        return [dict(zip(names, r, strict=True)) for r in self.rows[index]]


def foiled(*boards):
    """A source of (nouns of a row of cells, rows of foils)."""
    return Foiled(
        [Board([nouns.split()] * 2, []) for nouns, _ in boards],
        rows=[rows for _, rows in boards],
    )


SOURCE = foiled(
    (
        'ruby sea',
        [
            ('colour', 'a ruby', 'a leaf'),
            ('colour', 'a leaf', 'a sea'),
            ('order', 'a ruby and sea', 'a sea and ruby'),
        ],
    ),
    (
        'sun sun',
        [
            ('colour', 'a sun', 'a ruby'),
            # Several: one of them ties, one is worse; then one is better.
            ('many', 'a sun', ['sun a', 'a sea']),
            ('many', 'a sea', ['a leaf', 'a sun']),
            # The caption itself is no foil.
            ('many', 'a sun', ['a sea', 'a sun', 'a leaf', 'a sea']),
        ],
    ),
)


@pytest.mark.parametrize('batch_size', [1, 2, 64])
def test_hand_worked_case(batch_size):
    model = ColourModel((2, 2))
    result = Foils(SOURCE, batch_size=batch_size).run(model)
    assert model.largest_batch <= batch_size
    right = [s['accuracy'] for s in result.samples]
    assert right == [1, 0, 0.5, 1, 0.5, 0, 1]
    expected = {
        'accuracy/colour': 200 / 3,
        'accuracy/order': 50,
        'accuracy/many': 50,
        'accuracy': (200 / 3 + 50 + 50) / 3,
    }
    for key, value in expected.items():
        assert result.metrics[key] == pytest.approx(value)
        # The model's patches know as much as its pictures do.
        for local in ('accuracy_best_patch', 'accuracy_aligned'):
            name = key.replace('accuracy', local)
            assert result.metrics[name] == pytest.approx(value)
    chance = {'': 50 + (100 / 3 - 50) / 3, '/many': 100 / 3, '/colour': 50}
    for ending, value in chance.items():
        for key in ('accuracy', 'accuracy_best_patch', 'accuracy_aligned'):
            assert result.chance[key + ending] == pytest.approx(value)
    assert result.chance.keys() == result.metrics.keys()
    assert [s['key'] for s in result.samples][:4] == [
        'board-0#0',
        'board-0#1',
        'board-0#2',
        'board-1#0',
    ]
    assert result.samples[-1]['foils'] == ['a sea', 'a leaf']
    margins = [s['margin'] for s in result.samples]
    assert margins[0] > 0.5 and margins[1] < -0.5 and abs(margins[2]) < 1e-6
    json.dumps(result.to_json())
    assert not result.skipped


def test_samples_give_every_metric_back():
    found = Foils(SOURCE).run(ColourModel((2, 2))).to_json()
    for metric, value in found['metrics'].items():
        scores, keys = scores_of(metric, [found])
        again = scores.metrics(np.ones((1, len(keys))))
        assert again == pytest.approx(value, rel=1e-6), metric


def test_pictures_are_encoded_once_and_texts_once_a_picture():
    model = ColourModel((2, 2))
    SOURCE.reads.clear()
    Foils(SOURCE).run(model)
    assert set(SOURCE.reads.values()) == {1}
    assert model.texts_encoded == 5 + 5


class Told:
    """A model whose embeddings are given; tokens are right, wholes wrong."""

    image_size = None

    def __init__(self, parts=True, broken=False):
        self.parts = parts
        self.broken = broken

    def encode_image(self, images):
        count = len(images)
        patches = torch.eye(4).expand(count, 4, 4)
        image = torch.tensor([[1.0, 0, 0, 0]] * count)
        if self.broken:
            image[:] = torch.nan
        patches = patches if self.parts else patches[:, :0]
        return ImageEmbeddings(patches, patches, image, (2, 2))

    def encode_text(self, texts):
        good = torch.tensor([[float('leaf' not in text)] for text in texts])
        lost = torch.ones(1, 4) / 2
        known = torch.tensor([[0.0, 1, 0, 0]])
        tokens = torch.stack([good * known + (1 - good) * lost] * 2, 1)
        # What stands in the padding does not matter.
        tokens = torch.cat([tokens, torch.full_like(tokens, torch.nan)], 1)
        mask = torch.tensor([[True, True, False, False]] * len(texts))
        text = torch.cat([1 - good, good, good * 0, good * 0], 1)
        if not self.parts:
            tokens, mask = text[:, None], mask[:, :1]
        return TextEmbeddings(tokens, text, mask)


ONE = foiled(('ruby ruby', [('colour', 'a ruby', 'a leaf')]))


def test_tokens_are_scored_apart_from_the_whole():
    result = Foils(ONE, alignment=sparse_alignment).run(Told())
    assert result.metrics == {
        'accuracy': 0,
        'accuracy/colour': 0,
        'accuracy_best_patch': 100,
        'accuracy_best_patch/colour': 100,
        # A token that looks everywhere alike is its own mean patch.
        'accuracy_aligned': 50,
        'accuracy_aligned/colour': 50,
    }
    assert result.samples[0]['margin'] == pytest.approx(-1)


def test_models_without_patches_or_alignment():
    assert set(Foils(ONE).run(Told()).metrics) == {
        'accuracy',
        'accuracy/colour',
        'accuracy_best_patch',
        'accuracy_best_patch/colour',
    }
    result = Foils(ONE).run(Told(parts=False))
    assert set(result.metrics) == {'accuracy', 'accuracy/colour'}


def test_a_model_that_has_diverged_scores_chance():
    result = Foils(ONE).run(Told(broken=True))
    assert result.metrics['accuracy'] == 50 == result.chance['accuracy']
    assert result.skipped == {'embeddings that are not finite': 1}


def test_what_cannot_be_used_is_counted():
    source = foiled(
        ('ruby ruby', [('colour', 'a ruby', 'a leaf')]),
        ('sea sea', [('colour', ' ', 'a leaf'), ('colour', 'a sea', '\n')]),
        ('sea sea', []),
        ('sun sun', [('colour', 'a sun', 'a sun'), ('colour', 'x', [])]),
        ('leaf leaf', [('colour', 'a leaf', 'a ruby')]),
    )
    source.boards[-1].broken = True
    result = Foils(source, batch_size=2).run(ColourModel((2, 2)))
    assert len(result.samples) == 1 and result.metrics['accuracy'] == 100
    assert result.skipped == {
        'broken pictures': 1,
        'pictures without a foil': 1,
        'foils without words': 2,
        'foils that are their caption': 2,
    }


def test_mistakes():
    with pytest.raises(ValueError, match='Boards has no foils; take a data'):
        Foils(Boards([Board([['ruby']], [])]))
    empty = foiled(('ruby ruby', []))
    with pytest.raises(ValueError, match='no picture has a foil'):
        Foils(empty).run(ColourModel((2, 2)))


def test_local_scores_are_those_of_the_local_loss():
    """Padded texts against the same ones alone, patch by patch."""
    random = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 5, 8, generator=random)
    patches = torch.randn(3, 6, 8, generator=random)
    lengths = [5, 2, 3]
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    best = best_patch_scores(tokens, mask, patches)
    aligned = aligned_scores(tokens, mask, patches, sparse_alignment)
    for row, length in enumerate(lengths):
        own, seen = tokens[row, :length], patches[row]
        cosine = torch.cosine_similarity(own[:, None], seen[None], dim=2)
        slow = sum(float(line.max()) for line in cosine) / length
        assert float(best[row]) == pytest.approx(slow, abs=1e-6)
        weights = sparse_alignment(own[None], seen[None])
        grouped = group_patches(weights, seen[None])[0]
        slow = torch.cosine_similarity(own, grouped, dim=1).mean()
        assert float(aligned[row]) == pytest.approx(float(slow), abs=1e-6)
    scores = global_scores(tokens[:, 0], patches[:, 0])
    slow = torch.cosine_similarity(tokens[:, 0], patches[:, 0], dim=1)
    assert torch.allclose(scores, slow, atol=1e-6)


def test_scenes():
    result = Foils(
        dict(type='Scenes', split='test', size=16), max_images=40
    ).run(ColourModel())
    kinds = {s['kind'] for s in result.samples}
    assert len(kinds) == 7 and set(result.metrics) >= {
        f'accuracy/{kind}' for kind in kinds
    }
    # The model knows none of the words.
    assert result.metrics['accuracy'] == pytest.approx(50)
    first = Scenes('test', size=16).foils(0)
    assert [s['caption'] for s in result.samples][: len(first)] == [
        pair['caption'] for pair in first
    ]
