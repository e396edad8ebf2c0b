# 450 updates of 16 pictures, AdamW, cosine, meant for two cores.
_base_ = 'vitdet_100e.py'
auto_batch = None
auto_scale_lr = dict(base_batch_size=16)
train_cfg = dict(max_iters=450, val_interval=450)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(layer_decay=dict(rate=0.8)),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=45),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=45, eta_min=0),
]
