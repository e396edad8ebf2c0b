# LLaVA-1.5's first stage: one epoch of 558k in batches of 256, 1e-3, cosine,
# 3% of it warm-up. Here 32 on each of 8 GPUs.
_base_ = 'stage1_300.py'
train_cfg = dict(max_iters=2180)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=66),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=66, eta_min=0),
]
