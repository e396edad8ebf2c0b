# DINO on the small ViT of drawn scenes: 50 queries, 2 layers of encoder and
# decoder.
_base_ = ['dino_vitb16.py', 'vitmini.py']
ffn = dict(ffn_cfg=dict(feedforward_channels=512))
model = dict(
    num_queries=50,
    data_preprocessor=dict(pad_size_divisor=16),
    backbone=_base_.mini,
    neck=dict(in_channels=128, in_stride=8),
    encoder=dict(num_layers=2, layer_cfg=ffn),
    decoder=dict(num_layers=2, layer_cfg=ffn),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=20)),
    test_cfg=dict(max_per_img=50),
)
