# SPARC on a frozen EfficientNet-lite0 with ImageNet's weights, Flickr8k's 6000
# pictures: 700 updates of 256 pairs, a quarter of an hour on two CPU cores.
# What the frozen part gives is computed before the first run (minutes, 0.9 GB)
# and kept for all; to train that part as well, which takes hours, set
# model.vision.frozen=False.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/sparc_efficientlite0.py',
    '_base_/datasets/flickr8k.py',
    '_base_/schedules/adamw_450.py',
]
keep_features = 'work_dirs/features'
# No random crops: features are of whole pictures.
train_dataloader = dict(dataset=dict(image_size=224, crop_scale=None))
train_cfg = dict(max_iters=700, val_interval=350)
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.2),
    # Where the trunk is trained too, gently.
    paramwise_cfg=dict(
        custom_keys={'vision.trunk': dict(lr_mult=0.1, decay_mult=0.0)}
    ),
)
