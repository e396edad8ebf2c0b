# Drawn scenes on disk, 64 x 64 pixels, 120 classes: pairs of a colour and a
# shape. tools/prepare_data.py scenes data/scenes draws them.
load = dict(type='LoadImageFromFile')
resize = dict(type='Resize', scale=(64, 64), keep_ratio=True)
augment = [
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
boxes = dict(type='LoadAnnotations', with_bbox=True)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='sparc_vlm.CocoBoxes',
        data_root='data/scenes',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images_train'),
        pipeline=[load, boxes, resize, *augment],
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='sparc_vlm.CocoBoxes',
        data_root='data/scenes',
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='images_val'),
        test_mode=True,
        pipeline=[load, resize, dict(type='PackDetInputs')],
    ),
)
val_evaluator = dict(
    type='CocoMetric', ann_file='data/scenes/annotations/instances_val.json'
)
val_cfg = dict(type='ValLoop')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type='TestLoop')
custom_hooks = [dict(type='NumClassCheckHook')]
