"""The stand-ins are enough for a detector of MMDetection to train and test.

Its config comes by name, `mmdet::...`, which needs pkg_resources too.
"""

from __future__ import annotations

import mmdet.models  # noqa: F401 (registers the detectors)
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData


def picture():
    """One noisy 64 x 64 picture with one box on it."""
    sample = DetDataSample(
        gt_instances=InstanceData(
            bboxes=torch.tensor([[8.0, 8, 40, 40]]), labels=torch.tensor([1])
        ),
        metainfo={
            'img_shape': (64, 64),
            'ori_shape': (64, 64),
            'pad_shape': (64, 64),
            'scale_factor': (1.0, 1.0),
        },
    )
    return torch.rand(1, 3, 64, 64), [sample]


def test_faster_rcnn_trains_and_detects():
    model = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    model = model.model
    model.backbone.update(depth=18, init_cfg=None)
    model.neck.in_channels = [64, 128, 256, 512]
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(model)
    detector.init_weights()
    images, samples = picture()
    losses = detector.loss(images, samples)
    total, _ = detector.parse_losses(losses)
    assert total.isfinite()
    total.backward()
    # the first convolution is reached through RoIAlign and through the RPN
    for name in ('roi_head.bbox_head.fc_cls', 'neck.fpn_convs.0.conv'):
        grad = detector.get_submodule(name).weight.grad
        assert grad.isfinite().all()
        assert grad.abs().sum() > 0
    detector.eval()
    with torch.no_grad():
        (found,) = detector.predict(images, samples)
    assert found.pred_instances.bboxes.shape[1] == 4
