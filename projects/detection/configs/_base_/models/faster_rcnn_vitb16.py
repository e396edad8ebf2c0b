# Faster R-CNN on ViT-B/16 and a simple feature pyramid.
_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', 'vitb16.py']
levels = dict(strides=(4, 8, 16, 32), extra_levels=1)
model = dict(
    data_preprocessor=_base_.pixels,
    backbone=dict(_delete_=True, **_base_.backbone),
    neck=dict(_delete_=True, **_base_.pyramid, **levels),
)
