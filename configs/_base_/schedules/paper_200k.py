# The paper's schedule for ViT-B: 200k updates of 16384 pairs, AdamW, cosine.
train_cfg = dict(type='PretrainLoop', max_iters=200000, val_interval=5000)
auto_batch = dict(global_batch_size=16384)
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    constructor='GroupingConstructor',
    dtype='bfloat16',
    optimizer=dict(
        type='AdamW', lr=9e-4, weight_decay=0.2, betas=(0.9, 0.98), fused=True
    ),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={'log_scale': dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=2500
    ),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=2500, eta_min=0),
]
