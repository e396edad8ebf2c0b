# The paper's model: ViT-B/16 and a 12-layer text transformer, 512 shared.
tokenizer = dict(type='CaptionTokenizer', path=None, max_length=55)
tokenizer_training = dict(vocab_size=32000)
model = dict(
    type='ImageTextPretrainer',
    vision=dict(type='SparcViT', arch='base', patch_size=16, img_size=224),
    text=dict(
        type='TextTransformer',
        vocab_size=32000,
        embed_dims=768,
        num_layers=12,
        num_heads=12,
        max_length=55,
    ),
    objective=dict(type='SPARC', global_weight=0.5, local_weight=1.0),
    embed_dims=512,
    image_size=224,
)
