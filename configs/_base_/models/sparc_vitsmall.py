# A model for photographs on a few cores: ViT of 6 layers, 192 wide, 16 x 16
# patches of 128 pixels; text of 4 layers.
_base_ = 'sparc_vitb16.py'
tokenizer_training = dict(vocab_size=4000)
model = dict(
    vision=dict(
        arch=dict(
            _delete_=True,
            embed_dims=192,
            num_layers=6,
            num_heads=6,
            feedforward_channels=768,
        ),
        img_size=128,
    ),
    text=dict(vocab_size=4000, embed_dims=192, num_layers=4, num_heads=6),
    embed_dims=192,
    image_size=128,
)
