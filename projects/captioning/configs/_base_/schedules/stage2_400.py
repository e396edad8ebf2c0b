# 400 updates of projector and low-rank layers, meant for two cores. Both learn
# at the same rate: the first stage was short, and the language model is small.
_base_ = 'stage1_300.py'
train_cfg = dict(max_iters=400)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=12),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=12, eta_min=0),
]
