# RTMDet on the small ViT of drawn scenes: three maps, of strides 4 to 16.
_base_ = ['rtmdet_vitb16.py', 'vitmini.py']
model = dict(
    data_preprocessor=dict(pad_size_divisor=16),
    backbone=_base_.mini,
    neck=dict(strides=(4, 8, 16), **_base_.mini_pyramid),
    bbox_head=dict(
        in_channels=128,
        feat_channels=128,
        anchor_generator=dict(strides=(4, 8, 16)),
    ),
    test_cfg=dict(nms_pre=300, max_per_img=100),
)
