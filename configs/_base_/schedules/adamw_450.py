# 450 updates of 256 pairs, AdamW, cosine: minutes on two cores.
train_cfg = dict(type='PretrainLoop', max_iters=450, val_interval=150)
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    dtype='bfloat16',
    optimizer=dict(
        type='AdamW', lr=1e-3, weight_decay=0.1, betas=(0.9, 0.98), fused=True
    ),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={'log_scale': dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=45),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=45, eta_min=0),
]
