# 300 updates of the projector alone, AdamW, cosine, meant for two cores. Ten
# times LLaVA's rate, as there are few updates: at that one the projector had
# hardly begun to tell pictures apart by then.
train_cfg = dict(type='PretrainLoop', max_iters=300)
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    constructor='GroupingConstructor',
    dtype='bfloat16',
    optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.0),
    accumulative_counts=1,
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=9),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=9, eta_min=0),
]
