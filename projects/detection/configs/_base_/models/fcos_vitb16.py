# FCOS on ViT-B/16 and a simple feature pyramid; norms of groups in the head,
# centre sampling and GIoU.
_base_ = 'vitb16.py'
levels = dict(strides=(8, 16, 32), extra_levels=2, extra='conv')
model = dict(
    type='FCOS',
    data_preprocessor=dict(
        type='DetDataPreprocessor', pad_size_divisor=32, **_base_.pixels
    ),
    backbone=_base_.backbone,
    neck=dict(**_base_.pyramid, **levels),
    bbox_head=dict(
        type='FCOSHead',
        num_classes=80,
        in_channels=256,
        strides=(8, 16, 32, 64, 128),
        norm_on_bbox=True,
        centerness_on_reg=True,
        center_sampling=True,
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100,
    ),
)
