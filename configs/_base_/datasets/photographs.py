# How captioned photographs are loaded; what is loaded is said by whoever
# inherits from this.
train_dataloader = dict(
    type='PairLoader',
    batch_size=256,
    num_workers=2,
    dataset=dict(type='PairDataset', image_size=128, crop_scale=(0.6, 1.0)),
)
val_dataloader = dict(batch_size=64)
val_cfg = dict(type='TaskLoop')
