# RetinaNet on the small ViT of drawn scenes: three maps, anchors as large as
# the objects, a head of two layers.
_base_ = ['retinanet_vitb16.py', 'vitmini.py']
levels = dict(strides=(4, 8, 16), extra_levels=0)
model = dict(
    data_preprocessor=dict(pad_size_divisor=16),
    backbone=_base_.mini,
    neck=dict(**_base_.mini_pyramid, **levels),
    bbox_head=dict(
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        anchor_generator=dict(
            octave_base_scale=3, scales_per_octave=1, strides=[4, 8, 16]
        ),
    ),
    test_cfg=dict(nms_pre=200),
)
