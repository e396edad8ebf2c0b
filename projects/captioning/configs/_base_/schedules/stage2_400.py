# 400 updates of projector and low-rank layers, meant for two cores. LLaVA's
# rates for LoRA: 2e-4, and a tenth of it for the projector.
_base_ = 'stage1_300.py'
train_cfg = dict(max_iters=400)
optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(custom_keys=dict(projector=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=12),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=12, eta_min=0),
]
