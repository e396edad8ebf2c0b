# DINO on ViT-B/16 and a simple feature pyramid: four maps, 900 queries, 6
# layers of encoder and decoder.
_base_ = 'vitb16.py'
levels = dict(strides=(8, 16, 32), extra_levels=1, extra='conv')
attention = dict(embed_dims=256, dropout=0.0)
deformable = dict(num_levels=4, **attention)
ffn = dict(embed_dims=256, feedforward_channels=2048, ffn_drop=0.0)
costs = [
    dict(type='FocalLossCost', weight=2.0),
    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    dict(type='IoUCost', iou_mode='giou', weight=2.0),
]
model = dict(
    type='DINO',
    num_queries=900,
    with_box_refine=True,
    as_two_stage=True,
    data_preprocessor=dict(
        type='DetDataPreprocessor', pad_size_divisor=32, **_base_.pixels
    ),
    backbone=_base_.backbone,
    neck=dict(**_base_.pyramid, **levels),
    encoder=dict(
        num_layers=6, layer_cfg=dict(self_attn_cfg=deformable, ffn_cfg=ffn)
    ),
    decoder=dict(
        num_layers=6,
        return_intermediate=True,
        layer_cfg=dict(
            self_attn_cfg=dict(num_heads=8, **attention),
            cross_attn_cfg=deformable,
            ffn_cfg=ffn,
        ),
        post_norm_cfg=None,
    ),
    positional_encoding=dict(num_feats=128, normalize=True, temperature=20),
    bbox_head=dict(
        type='DINOHead',
        num_classes=80,
        sync_cls_avg_factor=True,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=5.0),
        loss_iou=dict(type='GIoULoss', loss_weight=2.0),
    ),
    dn_cfg=dict(
        label_noise_scale=0.5,
        box_noise_scale=1.0,
        group_cfg=dict(dynamic=True, num_groups=None, num_dn_queries=100),
    ),
    train_cfg=dict(assigner=dict(type='HungarianAssigner', match_costs=costs)),
    test_cfg=dict(max_per_img=300),
)
