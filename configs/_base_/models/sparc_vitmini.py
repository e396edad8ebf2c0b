# A model for two cores: ViT of 5 layers, 128 wide, 8 x 8 patches of 64 pixels.
tokenizer = dict(type='CaptionTokenizer', path=None, max_length=55)
tokenizer_training = dict(vocab_size=1000)
model = dict(
    type='ImageTextPretrainer',
    vision=dict(type='SparcViT', arch='mini', patch_size=8, img_size=64),
    text=dict(
        type='TextTransformer',
        vocab_size=1000,
        embed_dims=128,
        num_layers=3,
        num_heads=4,
        max_length=55,
    ),
    objective=dict(type='SPARC', global_weight=0.5, local_weight=1.0),
    embed_dims=128,
    image_size=64,
)
