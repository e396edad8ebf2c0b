# ViTDet's schedule: about 100 epochs of COCO in batches of 64, AdamW, layer
# decay 0.7, two steps down at the end. With another batch, tools/train.py has
# the rate follow its root, and MMDetection's own, where asked to, the ratio.
train_cfg = dict(type='sparc_vlm.BoxLoop', max_iters=184375, val_interval=5000)
auto_batch = dict(global_batch_size=64, unit='pictures')
auto_scale_lr = dict(enable=False, base_batch_size=64)
optim_wrapper = dict(
    type='sparc_vlm.AutocastOptimWrapper',
    constructor='sparc_vlm.LayerDecayConstructor',
    dtype='bfloat16',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.1),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(
        layer_decay=dict(rate=0.7, prefix='backbone.'),
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={'pos_embed': dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=250),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=[163889, 177546],
        gamma=0.1,
    ),
]
