# Faster R-CNN on the small ViT of photographs, of 6 layers, 192 wide: 16 x 16
# patches of 128 pixels as pretrained, or of any other size.
_base_ = 'faster_rcnn_small.py'
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=192,
            num_layers=6,
            num_heads=6,
            feedforward_channels=768,
        ),
        img_size=128,
        window_size=0,
        drop_path_rate=0.0,
    ),
    neck=dict(in_channels=192, out_channels=128),
)
