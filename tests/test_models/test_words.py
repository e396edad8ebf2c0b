"""Words of a caption: handed on by the model, pooled, and told apart."""

import torch

from sparc_vlm.structures import TokenBatch
from tests.test_models.tiny_models import build, model_cfg


def test_the_model_hands_on_ids_and_words():
    tokens = TokenBatch.from_lists(
        [[4, 9, 7], [5]],
        real=[[False, True, True], [True]],
        words=[[None, 0, 0], [2]],
    )
    pairs = build(model_cfg())(torch.randn(2, 3, 32, 32), tokens)
    assert pairs.token_ids.tolist() == [[4, 9, 7], [5, 0, 0]]
    assert pairs.words.tolist() == [[-1, 0, 0], [2, -1, -1]]
    assert pairs.token_mask.tolist() == [
        [False, True, True],
        [True, False, False],
    ]


def test_a_batch_without_words_has_none():
    tokens = TokenBatch.from_lists([[4, 9], [5]])
    pairs = build(model_cfg())(torch.randn(2, 3, 32, 32), tokens)
    assert pairs.words is None
    assert pairs.token_ids.tolist() == [[4, 9], [5, 0]]
