# The paper's schedule for the bridge: AdamW, 1e-4, 5k updates of warm-up,
# cosine over 250k. It leaves the batch open; here 32 on each of 8 GPUs.
_base_ = 'stage1_300.py'
train_cfg = dict(max_iters=250000)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=5000),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=5000, eta_min=0),
]
