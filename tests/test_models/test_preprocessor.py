"""Bytes become normalised floats, floats stay."""

from __future__ import annotations

import pytest
import torch

from sparc_vlm.models import PairPreprocessor
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch


def every_byte():
    return (
        torch.arange(256, dtype=torch.uint8)
        .view(1, 1, 16, 16)
        .repeat(2, 3, 1, 1)
    )


def test_bytes_span_minus_one_to_one():
    images = PairPreprocessor()(dict(images=every_byte()))['images']
    wanted = torch.arange(256).view(16, 16) / 127.5 - 1
    assert images.dtype == torch.float32
    for image in images.flatten(0, 1):
        torch.testing.assert_close(image, wanted, rtol=0, atol=1e-6)


def test_each_channel_has_its_own_numbers():
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    preprocessor = MODELS.build(
        dict(type='PairPreprocessor', mean=mean, std=std)
    )
    images = preprocessor(dict(images=every_byte()))['images']
    for channel in range(3):
        wanted = (torch.arange(256).view(16, 16) - mean[channel]) / std[
            channel
        ]
        torch.testing.assert_close(
            images[1, channel], wanted, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_floats_are_taken_as_they_are(dtype):
    images = torch.randn(2, 3, 4, 4).to(dtype)
    output = PairPreprocessor()(dict(images=images))['images']
    assert output.dtype == dtype
    assert torch.equal(output, images)


def test_the_rest_of_the_batch_travels_along():
    tokens = TokenBatch.from_lists([[1, 2], [3]], words=[[0, None], [0]])
    batch = dict(images=every_byte(), tokens=tokens)
    output = PairPreprocessor()(batch, training=True)
    assert isinstance(output['tokens'], TokenBatch)
    assert torch.equal(output['tokens'].ids, tokens.ids)
    assert output['tokens'].real is None
    assert output['tokens'].words.tolist() == [0, -1, 0]
    assert batch['images'].dtype == torch.uint8, 'the batch is not changed'


def test_lengths_stay_on_the_host():
    """The meta device stands for a GPU here."""
    tokens = TokenBatch.from_lists([[1, 2], [3]], words=[[0, None], [0]])
    batch = dict(images=every_byte(), tokens=tokens)
    moved = PairPreprocessor().to('meta').cast_data(batch)
    assert moved['images'].is_meta
    assert moved['tokens'].ids.is_meta
    assert moved['tokens'].words.is_meta
    assert moved['tokens'].lengths.tolist() == [2, 1]


def test_nothing_of_it_is_in_checkpoints():
    assert PairPreprocessor().state_dict() == {}
