"""The benchmarks run, on a tiny model, and compare like with like."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import caption_lengths, step_parts, step_profile, train_step
from benchmarks.steps import Batch, OurModel, Step, draw_batch

CONFIG = str(train_step.ROOT / train_step.SIZES['vittiny'][0])


@pytest.fixture(scope='module')
def batch():
    return draw_batch(CONFIG, 6, [3, 5, 90], seed=0)


def parameters(ours):
    return torch.cat([p.detach().flatten() for p in ours.model.parameters()])


def test_batches_have_the_lengths_that_were_asked_for(batch):
    assert batch.images.shape == (6, 3, 64, 64)
    assert batch.images.dtype == torch.uint8
    # Two places of the context are the peer's marks.
    assert {len(caption) for caption in batch.captions} <= {3, 5, 53}
    again = draw_batch(CONFIG, 6, [3, 5, 90], seed=0)
    assert all(
        torch.equal(left, right)
        for left, right in zip(batch.captions, again.captions, strict=True)
    )


def test_committed_lengths_are_flickr8ks():
    lengths = caption_lengths.read_lengths()
    assert len(lengths) == 35000
    assert sum(lengths) / len(lengths) == pytest.approx(12.1, abs=0.05)


def test_captions_are_read_from_both_layouts(tmp_path):
    plain = tmp_path / 'captions.txt'
    plain.write_text('a dog\n\na cat\n')
    karpathy = tmp_path / 'dataset.json'
    sentences = [dict(raw='a dog'), dict(raw='a cat')]
    karpathy.write_text(json.dumps(dict(images=[dict(sentences=sentences)])))
    for path in (plain, karpathy):
        assert caption_lengths.read_captions(path) == ['a dog', 'a cat']


@pytest.mark.parametrize('name', train_step.OBJECTIVES)
def test_a_step_trains(batch, name):
    ours = OurModel(CONFIG)
    before = parameters(ours)
    ours.step(train_step.OBJECTIVES[name], batch)()
    moved = parameters(ours) - before
    assert moved.isfinite().all()
    assert moved.any()


def test_sides_take_turns_and_are_compared(monkeypatch):
    order = []

    def peer(config: str, batch: Batch, device: str) -> Step:
        assert config == CONFIG
        assert len(batch.captions) == 2
        return Step(lambda: order.append('peer'), lambda: None)

    monkeypatch.setattr(train_step, 'matrix_rate', lambda device: 1e9)
    found = train_step.run(CONFIG, 2, [4], 3, dict(open_clip=peer))
    assert len(order) == 4
    assert set(found['sides']) == {'SPARC', 'CLIP', 'open_clip'}
    for side in found['sides'].values():
        assert len(side['seconds']) == len(side['update_seconds']) == 3
    ours = found['sides']['SPARC']
    assert ours['operations'] > found['sides']['CLIP']['operations'] > 1e6
    assert found['tokens_per_caption'] == 4
    least, middle, most = found['ratios']['SPARC over open_clip']
    assert 0 < least <= middle <= most


def test_ratios_are_of_rounds():
    sides = dict(
        SPARC=dict(seconds=[1.0, 2.0, 1.0]),
        open_clip=dict(seconds=[2.0, 2.0, 3.0]),
    )
    assert train_step.ratios(sides) == {'SPARC over open_clip': [1, 2, 3]}


def test_each_part_is_turned_off_and_on_again(batch):
    from sparc_vlm.models import attention, length_parts

    usual, parts = attention.WRITTEN_OUT_UP_TO, length_parts.PARTS
    variants = step_parts.variants(CONFIG, batch)
    found = step_parts.measure(variants, 6, 1)
    operations = {name: side['operations'] for name, side in found.items()}
    whole = operations.pop(step_parts.WHOLE)
    padded = operations.pop('captions padded to the context')
    assert padded > whole
    assert operations['optimizer not fused'] == whole
    assert usual == attention.WRITTEN_OUT_UP_TO
    assert parts == length_parts.PARTS
    slower = step_parts.slowdowns(found)
    assert len(slower) == 5
    assert step_parts.WHOLE not in slower


def test_the_profile_adds_up(batch):
    step = OurModel(CONFIG).step(train_step.OBJECTIVES['SPARC'], batch)
    found = step_profile.shares(step)
    assert sum(found.values()) == pytest.approx(1)
    assert 'aten::mm' in found
    assert 0 < step_profile.outside_products(found) < 1
