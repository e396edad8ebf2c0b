# Faster R-CNN on the small ViT of photographs; what is found counts from a
# score of 0.001: after few updates hardly anything gets to 0.05.
_base_ = ['faster_rcnn_small.py', 'vitsmall.py']
model = dict(
    backbone=_base_.small,
    neck=_base_.small_pyramid,
    test_cfg=dict(rcnn=dict(score_thr=0.001)),
)
