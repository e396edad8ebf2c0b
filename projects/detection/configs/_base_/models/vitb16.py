# ViT-B/16 as in ViTDet, in place of a detector's own backbone and pyramid:
# attention in windows of 14 patches in all but four layers. Pixels as in
# pretraining.
pixels = dict(mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True)
backbone = dict(
    type='sparc_vlm.SparcViT',
    arch='base',
    patch_size=16,
    img_size=1024,
    window_size=14,
    drop_path_rate=0.1,
    init_cfg=dict(type='Pretrained', checkpoint=None, prefix='vision.'),
)
pyramid = dict(
    type='sparc_vlm.SimpleFeaturePyramid',
    in_channels=768,
    out_channels=256,
    in_stride=16,
)
