# A ViT for photographs on two cores, of 6 layers, 192 wide: patches of 16
# pixels, 8 x 8 of them in pictures of 128 as pretrained, or of any other size.
small = dict(
    arch=dict(
        _delete_=True,
        embed_dims=192,
        num_layers=6,
        num_heads=6,
        feedforward_channels=768,
    ),
    patch_size=16,
    img_size=128,
    window_size=0,
    drop_path_rate=0.0,
)
small_pyramid = dict(in_channels=192, out_channels=128, in_stride=16)
