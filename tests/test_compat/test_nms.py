"""NMS stands in for mmcv's compiled op and agrees with the definition."""

from __future__ import annotations

import pytest
import torch

from sparc_vlm.compat.nms import nms


def overlap(a, b, offset):
    """Intersection over union of two boxes, from the definition."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    shared = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
    return shared / (sum(areas) - shared)


def slow_nms(boxes, scores, threshold, offset):
    """Box by box: kept unless a better kept one overlaps it too much."""
    boxes, kept = boxes.tolist(), []
    ranked = sorted(range(len(boxes)), key=lambda i: -float(scores[i]))
    for i in ranked:
        if all(overlap(boxes[i], boxes[k], offset) <= threshold for k in kept):
            kept.append(i)
    return kept


def random_boxes(seed, count):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 50
    size = 1 + torch.rand(count, 2, generator=generator) * 30
    scores = torch.rand(count, generator=generator)
    return torch.cat([corner, corner + size], 1).double(), scores


@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('seed', range(3))
def test_agrees_with_the_definition(threshold, offset, seed):
    boxes, scores = random_boxes(seed, 60)
    kept = nms(boxes, scores, threshold, offset)
    assert kept.dtype == torch.int64
    assert kept.tolist() == slow_nms(boxes, scores, threshold, offset)


def test_a_threshold_met_exactly_keeps_the_box():
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.49).tolist() == [0]


def test_of_equal_scores_the_first_goes_first():
    boxes = torch.tensor([[0.0, 0, 4, 4]]).repeat(40, 1)
    assert nms(boxes, torch.ones(40), 0.5).tolist() == [0]


def test_empty_boxes_and_no_boxes():
    boxes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1]])
    assert nms(boxes, torch.tensor([0.1, 0.2]), 0.5).tolist() == [1, 0]
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype):
    boxes, scores = random_boxes(0, 60)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    kept = nms(boxes, scores, 0.5)
    assert kept.tolist() == nms(boxes.float(), scores.float(), 0.5).tolist()


def test_through_mmcv():
    from mmcv.ops import batched_nms
    from mmcv.ops import nms as mmcv_nms

    boxes, scores = random_boxes(1, 60)
    boxes = boxes.float()
    dets, kept = mmcv_nms(boxes, scores, 0.3, score_threshold=0.5, max_num=5)
    high = (scores > 0.5).nonzero().squeeze(1)
    expected = slow_nms(boxes[high].double(), scores[high], 0.3, 0)[:5]
    assert kept.tolist() == high[expected].tolist()
    torch.testing.assert_close(dets[:, 4], scores[kept])

    classes = torch.arange(60) % 3
    options = {'type': 'nms', 'iou_threshold': 0.3}
    _, kept = batched_nms(boxes, scores, classes, options)
    expected = []
    for c in range(3):
        mine = (classes == c).nonzero().squeeze(1)
        rows = slow_nms(boxes[mine].double(), scores[mine], 0.3, 0)
        expected += mine[rows].tolist()
    assert sorted(kept.tolist()) == sorted(expected)


def test_agrees_with_torchvision_where_its_ops_load():
    """Where they do not, the definition above is the judge alone."""
    import torchvision

    boxes, scores = random_boxes(2, 200)
    for threshold in (0.1, 0.5):
        if torchvision.extension._has_ops():
            real = torchvision.ops.nms(boxes, scores.double(), threshold)
        else:
            real = torch.tensor(slow_nms(boxes, scores, threshold, 0))
        assert torch.equal(nms(boxes, scores, threshold), real)
