"""Detectors of MMDetection, small enough for a test, and pictures for them."""

from __future__ import annotations

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from PIL import Image

from sparc_vlm import detection

RECIPES = {
    'faster_rcnn': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'mask_rcnn': 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'retinanet': 'retinanet/retinanet_r50_fpn_1x_coco.py',
}
CLASSES = ('red circle', 'blue square', 'green cross')
PIPELINE = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_shape', 'ori_shape', 'scale_factor'),
    ),
]


def model_cfg(kind):
    """Its config: a ResNet-18 of a few channels, three classes."""
    cfg = get_config(f'mmdet::{RECIPES[kind]}').model
    cfg.backbone.update(depth=18, base_channels=8, stem_channels=8)
    cfg.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    if kind == 'retinanet':
        cfg.bbox_head.update(
            num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1
        )
        cfg.test_cfg.score_thr = 0.0
        return cfg.to_dict()
    cfg.rpn_head.update(in_channels=16, feat_channels=16)
    cfg.roi_head.bbox_roi_extractor.out_channels = 16
    cfg.roi_head.bbox_head.update(
        num_classes=3, in_channels=16, fc_out_channels=16
    )
    if kind == 'mask_rcnn':
        cfg.roi_head.mask_roi_extractor.out_channels = 16
        cfg.roi_head.mask_head.update(
            num_classes=3, in_channels=16, conv_out_channels=8, num_convs=1
        )
    cfg.test_cfg.rpn.max_per_img = 20
    cfg.test_cfg.rcnn.score_thr = 0.0
    return cfg.to_dict()


def build(kind, seed=0):
    """The model with random weights, in eval mode, and its config."""
    cfg = model_cfg(kind)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(ConfigDict(cfg))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.05)
    return model.eval(), model_cfg(kind)


def save(kind, folder, seed=0):
    """Writes its folder; returns that."""
    model, cfg = build(kind, seed)
    return detection.save(model, folder, cfg, PIPELINE, CLASSES)


def picture(seed=0, size=(64, 48)):
    """Noise, with the width and height."""
    random = np.random.default_rng(seed)
    return Image.fromarray(
        random.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    )
