# Faster R-CNN on the pretraining recipes' encoder for photographs: a frozen
# EfficientNet, 2 layers on its cells of 32 pixels, a simple feature pyramid.
# For short training: its finest map has cells of 16 pixels, as one of 8 takes
# half as long again; boxes are regressed alike for all classes; and what is
# found counts from a score of 0.001, as hardly anything gets to 0.05.
_base_ = [
    'faster_rcnn_small.py',
    '../../../../../configs/_base_/models/efficientlite0.py',
]
strides = (16, 32, 64)
start = dict(type='Pretrained', checkpoint=None, prefix='vision.')
model = dict(
    data_preprocessor=dict(
        mean=[127.0] * 3, std=[128.0] * 3, pad_size_divisor=32
    ),
    backbone=dict(_delete_=True, **_base_.encoder, init_cfg=start),
    neck=dict(
        in_channels=256, out_channels=128, in_stride=32, strides=strides
    ),
    rpn_head=dict(anchor_generator=dict(scales=[2], strides=[*strides, 128])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[*strides], finest_scale=56),
        bbox_head=dict(reg_class_agnostic=True),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rcnn=dict(score_thr=0.001)),
)
