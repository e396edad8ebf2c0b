# A ViT for two cores, of 5 layers, 128 wide: 8 x 8 patches of 64 pixels.
mini = dict(
    arch='mini', patch_size=8, img_size=64, window_size=0, drop_path_rate=0.0
)
mini_pyramid = dict(in_channels=128, out_channels=128, in_stride=8)
