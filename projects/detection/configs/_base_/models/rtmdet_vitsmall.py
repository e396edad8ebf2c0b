# RTMDet on the small ViT of photographs, as rtmdet_vitmini.py, but for
# objects twice as large.
_base_ = ['rtmdet_vitmini.py', 'vitsmall.py']
strides = (8, 16, 32)
model = dict(
    backbone=_base_.small,
    neck=dict(**_base_.small_pyramid, strides=strides),
    bbox_head=dict(anchor_generator=dict(strides=strides)),
)
