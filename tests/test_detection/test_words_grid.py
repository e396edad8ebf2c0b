"""Where patches are, and the boxes they begin with."""

import math

import pytest
import torch
from mmdet.registry import MODELS as DETECTORS
from mmengine.registry import DefaultScope

from sparc_vlm.detection.words.grid import EPS, patch_grid
from sparc_vlm.detection.words.heads import BoxHead, WordHead
from sparc_vlm.registry import MODELS
from tests.test_detection.words_made import detector_cfg, tokenizer

BOX_LAYERS = ('hidden.0', 'hidden.2', 'out')


def slow_bias(rows, columns, own_rows, own_columns):
    """One patch after the other, in Python's own float64."""

    def logit(share):
        share = min(max(share, EPS), 1 - EPS)
        return math.log(share / (1 - share))

    return [
        [
            logit((column + 0.5) / own_columns),
            logit((row + 0.5) / own_rows),
            logit(1 / own_columns),
            logit(1 / own_rows),
        ]
        for row in range(rows)
        for column in range(columns)
    ]


@pytest.mark.parametrize(
    ('shape', 'own'), [((40, 24), (5, 3)), ((33, 8), (5, 1)), ((1, 1), (1, 1))]
)
def test_box_bias_against_a_slow_twin(shape, own):
    grid = patch_grid([shape, (40, 24)], (5, 3), 8, torch.device('cpu'))
    assert grid.sizes.tolist() == [list(own), [5, 3]]
    twin = torch.tensor(slow_bias(5, 3, *own), dtype=torch.float64)
    # float32 near 1 - EPS is good to a few parts in ten thousand
    torch.testing.assert_close(
        grid.box_bias()[0].double(), twin, rtol=1e-5, atol=3e-4
    )


def test_only_patches_of_the_picture_count():
    grid = patch_grid([(17, 8), (24, 16)], (3, 2), 8, torch.device('cpu'))
    assert grid.mask.tolist() == [[True, False] * 3, [True] * 6]
    assert grid.extents.tolist() == [[8, 24, 8, 24], [16, 24, 16, 24]]


def test_boxes_begin_as_the_patches():
    grid = patch_grid([(24, 40)], (3, 5), 8, torch.device('cpu'))
    boxes = BoxHead(4)(torch.randn(1, 15, 4), grid.box_bias())
    pixels = (boxes * grid.extents[:, None])[0]
    expected = [
        [8 * column + 4, 8 * row + 4, 8, 8]
        for row in range(3)
        for column in range(5)
    ]
    torch.testing.assert_close(pixels, torch.tensor(expected).float())


def test_words_begin_rare_and_follow_the_formula():
    torch.manual_seed(0)
    values, dense = torch.randn(1, 3, 4), torch.randn(1, 3, 6)
    words = torch.nn.functional.normalize(torch.randn(1, 2, 6), dim=-1)
    head = WordHead(4, prior=0.02, scale=5.0)
    start = head(values, torch.zeros(1, 3, 6), words).sigmoid()
    torch.testing.assert_close(start, torch.full((1, 3, 2), 0.02))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    found = head(values, dense, words)
    for patch in range(3):
        token = values[0, patch]
        shift = head.shift(token).item() / 5.0
        raw = head.scale(token).item()
        scale = raw + 1 if raw > 0 else math.exp(raw)
        for word in range(2):
            cosine = float(
                dense[0, patch] @ words[0, word] / dense[0, patch].norm()
            )
            assert found[0, patch, word].item() == pytest.approx(
                (cosine + shift) * scale, abs=1e-5
            )


@pytest.mark.parametrize('scale', [1.0, 10.0])
def test_a_step_of_the_shift_moves_logits_as_far_whatever_the_scale(scale):
    torch.manual_seed(0)
    values, dense, words = (torch.randn(1, 5, 8) for _ in range(3))
    words = torch.nn.functional.normalize(words, dim=-1)
    head = WordHead(8, scale=scale)
    before = head(values, dense, words)
    with torch.no_grad():
        head.shift.bias += 0.25
    torch.testing.assert_close(head(values, dense, words), before + 0.25)


class OtherBoxHead(BoxHead):
    """One that is somebody else's."""


class OtherWordHead(WordHead):
    """Likewise."""


@pytest.fixture
def others():
    """Heads that are registered for one test."""
    kinds = {
        'sparc_vlm.' + k.__name__: k for k in (OtherBoxHead, OtherWordHead)
    }
    for kind in kinds.values():
        MODELS.register_module(module=kind)
    yield kinds
    for kind in kinds.values():
        del MODELS.module_dict[kind.__name__]


def built(cfg):
    """A detector as MMDetection builds it."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DETECTORS.build(cfg)


def test_heads_are_swapped_by_config(tmp_path, others):
    boxes, words = others
    cfg = detector_cfg(tokenizer(tmp_path), scale=7.0, prior=0.25)
    cfg |= dict(box_head=dict(type=boxes), word_head=dict(type=words))
    model = built(cfg)
    assert type(model.box_head) is OtherBoxHead
    assert type(model.word_head) is OtherWordHead
    assert model.word_head.unit == 7
    assert model.word_head.shift.bias.item() == pytest.approx(-math.log(3))
    cfg['word_head'] = dict(scale=3.0)
    model = built(cfg)
    assert type(model.word_head) is WordHead
    assert model.word_head.unit == 3


def test_keys_of_weights_are_as_ever(tmp_path):
    """Folders that were saved are loaded by them."""
    model = built(detector_cfg(tokenizer(tmp_path)))
    own = {k for k in model.state_dict() if not k.startswith('encoders.')}
    assert own == {
        *(f'box_head.{n}.{w}' for n in BOX_LAYERS for w in ('weight', 'bias')),
        *('word_head.shift.weight', 'word_head.shift.bias'),
        *('word_head.scale.weight', 'word_head.scale.bias'),
    }


def test_autocast_does_not_round_places_and_cosines():
    torch.manual_seed(0)
    values, dense, words = (torch.randn(1, 5, 8) for _ in range(3))
    grid = patch_grid([(8, 40)], (1, 5), 8, torch.device('cpu'))
    boxes, logits = BoxHead(8), WordHead(8)
    torch.nn.init.normal_(boxes.out.weight, std=0.01)
    torch.nn.init.constant_(boxes.out.bias, 0.1234567)
    full = boxes(values, grid.box_bias()), logits(values, dense, words)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        cast = boxes(values, grid.box_bias()), logits(values, dense, words)
    torch.testing.assert_close(cast[0], full[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(cast[1], full[1])
