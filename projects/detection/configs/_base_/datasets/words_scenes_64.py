# Drawn scenes on disk, 64 x 64 pixels, words such as 'red circle'.
# tools/prepare_data.py scenes data/scenes draws them.
load = dict(type='LoadImageFromFile')
resize = dict(type='Resize', scale=(64, 64), keep_ratio=True)
pack = dict(
    type='PackDetInputs',
    meta_keys=(
        *('img_id', 'ori_shape', 'img_shape', 'scale_factor'),
        *('words', 'text', 'incomplete', 'report'),
    ),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='sparc_vlm.WordBoxes',
        annotations='data/scenes/annotations/instances_train.json',
        images='data/scenes/images_train',
        pipeline=[
            load,
            dict(type='LoadAnnotations', with_bbox=True),
            resize,
            dict(type='RandomFlip', prob=0.5),
            dict(type='sparc_vlm.SampleWords', num_negatives=20),
            pack,
        ],
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='sparc_vlm.WordBoxes',
        annotations='data/scenes/annotations/instances_val.json',
        images='data/scenes/images_val',
        test_mode=True,
        pipeline=[load, resize, pack],
    ),
)
val_evaluator = dict(
    type='CocoMetric', ann_file='data/scenes/annotations/instances_val.json'
)
val_cfg = dict(type='ValLoop')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type='TestLoop')
custom_hooks = [dict(type='sparc_vlm.PictureReportHook')]
