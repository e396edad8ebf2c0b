# LLaVA-1.5's second stage with LoRA: one epoch of 624k in batches of 128,
# 2e-4 and a tenth of it for the projector, cosine, 3% of it warm-up. Here 16
# on each of 8 GPUs.
_base_ = 'stage2_400.py'
train_cfg = dict(max_iters=4880)
optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(custom_keys=dict(projector=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=147),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=147, eta_min=0),
]
