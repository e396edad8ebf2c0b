# 450 updates of 256 pairs, AdamW, cosine: minutes on two cores.
_base_ = 'paper_200k.py'
train_cfg = dict(max_iters=450, val_interval=150)
auto_batch = None
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=45),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=45, eta_min=0),
]
