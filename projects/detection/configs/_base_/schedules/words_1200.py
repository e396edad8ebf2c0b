# 1200 updates of 16 pictures, AdamW, cosine, meant for two cores. The image
# encoder learns at 0.3 of the heads' rate, the text encoder at a tenth.
_base_ = 'words_140k.py'
auto_batch = None
auto_scale_lr = dict(base_batch_size=16)
train_cfg = dict(max_iters=1200, val_interval=1200)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(
        custom_keys={
            'encoders': dict(lr_mult=0.3),
            'encoders.text': dict(lr_mult=0.1),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=45),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=45, eta_min=0),
]
