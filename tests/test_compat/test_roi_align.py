"""RoIAlign stands in for mmcv's compiled op: values and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from mmcv.ops import RoIAlign, roi_align

from sparc_vlm.compat import roi_align as module


def tap_weights(at, size):
    """Pixel and weight of linear interpolation; nothing outside."""
    if at < -1 or at > size:
        return []
    at = min(max(at, 0.0), size - 1.0)
    before = math.floor(at)
    after = min(before + 1, size - 1)
    return [(before, 1 - (at - before)), (after, at - before)]


def slow_roi_align(features, rois, bins, scale, ratio, aligned):
    """Each bin is the mean of its samples, each sample interpolated."""
    rows, columns = bins
    height, width = features.shape[2:]
    shift = 0.5 if aligned else 0.0
    regions = []
    for roi in rois.tolist():
        image = features[int(roi[0])]
        x1, y1, x2, y2 = (c * scale - shift for c in roi[1:])
        w, h = x2 - x1, y2 - y1
        if not aligned:
            w, h = max(w, 1.0), max(h, 1.0)
        down = ratio or math.ceil(h / rows)
        across = ratio or math.ceil(w / columns)
        values = []
        for row in range(rows):
            for column in range(columns):
                total = features.new_zeros(features.shape[1])
                for i in range(down):
                    for j in range(across):
                        y = y1 + (row + (i + 0.5) / down) * h / rows
                        x = x1 + (column + (j + 0.5) / across) * w / columns
                        for py, wy in tap_weights(y, height):
                            for px, wx in tap_weights(x, width):
                                total = total + wy * wx * image[:, py, px]
                values.append(total / max(down * across, 1))
        regions.append(torch.stack(values, 1).view(-1, rows, columns))
    return torch.stack(regions)


def random_case(seed=0, regions=12):
    """Features of 2 images of 9 x 11, and regions, some partly outside."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 9, 11, generator=generator).double()
    corner = torch.rand(regions, 2, generator=generator) * 14 - 4
    size = torch.rand(regions, 2, generator=generator) * 20
    image = torch.arange(regions)[:, None] % 2
    rois = torch.cat([image, corner, corner + size], 1).double()
    return features, rois


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('bins', [(1, 1), (3, 2)])
@pytest.mark.parametrize('scale', [1.0, 0.5])
def test_agrees_with_the_definition(aligned, ratio, bins, scale):
    features, rois = random_case()
    features.requires_grad_()
    fast = roi_align(features, rois, bins, scale, ratio, 'avg', aligned)
    slow = slow_roi_align(features, rois, bins, scale, ratio, aligned)
    torch.testing.assert_close(fast, slow)
    weights = torch.randn_like(slow)
    (expected,) = torch.autograd.grad((slow * weights).sum(), features)
    (actual,) = torch.autograd.grad((fast * weights).sum(), features)
    torch.testing.assert_close(actual, expected)
    assert expected.abs().sum() > 0


@pytest.mark.parametrize('ratio', [0, 2])
def test_gradient_by_finite_differences(ratio):
    features, rois = random_case(seed=1, regions=3)
    features = features[:, :1, :5, :6].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, rois, (2, 2), 0.5, ratio, 'avg', True), features
    )


def test_agrees_with_torchvision_where_its_ops_load():
    """Where they do not, the definition above is the judge alone."""
    import torchvision

    if not torchvision.extension._has_ops():
        with pytest.raises(RuntimeError, match='custom C.. ops'):
            torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        return
    features, rois = random_case()
    features.requires_grad_()
    for ratio in (0, 2):
        for aligned in (True, False):
            settings = (3, 2), 0.5, ratio
            real = torchvision.ops.roi_align(
                features, rois, *settings, aligned
            )
            ours = roi_align(features, rois, *settings, 'avg', aligned)
            torch.testing.assert_close(ours, real)
            weights = torch.randn_like(real)
            (expected,) = torch.autograd.grad((real * weights).sum(), features)
            (actual,) = torch.autograd.grad((ours * weights).sum(), features)
            torch.testing.assert_close(actual, expected)


def test_groups_of_regions_change_nothing(monkeypatch):
    features, rois = random_case(regions=9)
    features.requires_grad_()
    whole = roi_align(features, rois, (3, 2))
    (whole_grad,) = torch.autograd.grad(whole.square().sum(), features)
    monkeypatch.setattr(module, '_MAX_ENTRIES', 50)
    parts = roi_align(features, rois, (3, 2))
    (parts_grad,) = torch.autograd.grad(parts.square().sum(), features)
    assert torch.equal(parts, whole)
    torch.testing.assert_close(parts_grad, whole_grad)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype):
    features, rois = random_case()
    features, rois = features.to(dtype), rois.to(dtype)
    half = features.clone().requires_grad_()
    single = features.float().requires_grad_()
    for x, r in ((half, rois), (single, rois.float())):
        roi_align(x, r, (3, 2)).float().sum().backward()
    value = roi_align(half, rois, (3, 2))
    assert value.dtype == half.grad.dtype == dtype
    expected = roi_align(single, rois.float(), (3, 2))
    torch.testing.assert_close(value, expected.to(dtype))
    torch.testing.assert_close(half.grad, single.grad.to(dtype))


def test_empty_and_diverged_regions_are_finite():
    features, _ = random_case()
    features.requires_grad_()
    inf, nan = float('inf'), float('nan')
    rois = torch.tensor(
        [[0, 3, 3, 3, 3], [0, 0, 0, inf, 5], [1, nan, 0, 4, 4]]
    ).double()
    for aligned in (True, False):
        pooled = roi_align(features, rois, (2, 2), 1.0, 0, 'avg', aligned)
        pooled.sum().backward()
        assert pooled.isfinite().all()
        assert features.grad.isfinite().all()
    none = roi_align(features, rois[:0], (2, 2))
    assert none.shape == (0, 3, 2, 2)
    none.sum().backward()


def test_layer_of_mmcv_trains():
    features, rois = random_case()
    features = features.float().requires_grad_()
    layer = RoIAlign((2, 2), spatial_scale=0.5, sampling_ratio=0)
    layer(features, rois.float()).sum().backward()
    assert features.grad.abs().sum() > 0


def test_maximum_pooling_is_refused_by_name():
    features, rois = random_case()
    layer = RoIAlign((2, 2), pool_mode='max')
    with pytest.raises(NotImplementedError, match=r"pool_mode='max'.*mmcv 2"):
        layer(features, rois)
