# A model for photographs on a few cores: 2 layers on a frozen EfficientNet
# with ImageNet's weights, text of 4 layers.
_base_ = ['sparc_vitb16.py', 'efficientlite0.py']
tokenizer_training = dict(vocab_size=4000)
model = dict(
    vision=dict(_delete_=True, **_base_.encoder),
    text=dict(vocab_size=4000, embed_dims=256, num_layers=4, num_heads=4),
    embed_dims=256,
    data_preprocessor=dict(
        type='PairPreprocessor', mean=[127.0] * 3, std=[128.0] * 3
    ),
)
