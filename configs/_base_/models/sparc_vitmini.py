# A model for two cores: ViT of 5 layers, 128 wide, 8 x 8 patches of 64 pixels.
_base_ = 'sparc_vitb16.py'
tokenizer_training = dict(vocab_size=1000)
model = dict(
    vision=dict(arch='mini', patch_size=8, img_size=64),
    text=dict(vocab_size=1000, embed_dims=128, num_layers=3, num_heads=4),
    embed_dims=128,
    image_size=64,
)
