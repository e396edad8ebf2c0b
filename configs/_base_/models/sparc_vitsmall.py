# A model for photographs on a few cores: ViT of 6 layers, 192 wide, 16 x 16
# patches of 128 pixels; text of 4 layers.
tokenizer = dict(type='CaptionTokenizer', path=None, max_length=55)
tokenizer_training = dict(vocab_size=4000)
model = dict(
    type='ImageTextPretrainer',
    vision=dict(
        type='SparcViT',
        arch=dict(
            embed_dims=192,
            num_layers=6,
            num_heads=6,
            feedforward_channels=768,
        ),
        patch_size=16,
        img_size=128,
    ),
    text=dict(
        type='TextTransformer',
        vocab_size=4000,
        embed_dims=192,
        num_layers=4,
        num_heads=6,
        max_length=55,
    ),
    objective=dict(type='SPARC', global_weight=0.5, local_weight=1.0),
    embed_dims=192,
    image_size=128,
)
