# OWL-ViT's schedule for ViT-B/16: 140k updates of 256 pictures, AdamW, cosine.
# The text encoder learns 25 times more slowly. With another batch the rate
# follows its root.
train_cfg = dict(type='sparc_vlm.BoxLoop', max_iters=140000, val_interval=5000)
auto_batch = dict(global_batch_size=256, unit='pictures')
auto_scale_lr = dict(enable=False, base_batch_size=256)
optim_wrapper = dict(
    type='sparc_vlm.AutocastOptimWrapper',
    constructor='sparc_vlm.GroupingConstructor',
    dtype='bfloat16',
    optimizer=dict(type='AdamW', lr=5e-5, weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(custom_keys={'encoders.text': dict(lr_mult=0.04)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=1000),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=1000, eta_min=0),
]
