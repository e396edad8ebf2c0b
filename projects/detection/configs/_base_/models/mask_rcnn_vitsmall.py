# Mask R-CNN on the small ViT of photographs, as mask_rcnn_vitmini.py, but what
# is found counts from a score of 0.001: after few updates hardly anything gets
# to 0.05. Pictures are padded to squares here.
_base_ = ['mask_rcnn_vitmini.py', 'vitsmall.py']
model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
    backbone=_base_.small,
    neck=_base_.small_pyramid,
    test_cfg=dict(rcnn=dict(score_thr=0.001)),
)
