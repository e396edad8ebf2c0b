# FCOS on the small ViT of drawn scenes: three maps, a head of two layers.
_base_ = ['fcos_vitb16.py', 'vitmini.py']
levels = dict(strides=(4, 8, 16), extra_levels=0)
model = dict(
    data_preprocessor=dict(pad_size_divisor=16),
    backbone=_base_.mini,
    neck=dict(**_base_.mini_pyramid, **levels),
    bbox_head=dict(
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        strides=(4, 8, 16),
        regress_ranges=((-1, 16), (16, 32), (32, 1e8)),
    ),
    test_cfg=dict(nms_pre=200),
)
