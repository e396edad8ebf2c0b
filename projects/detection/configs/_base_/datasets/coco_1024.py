# COCO at 1024 pixels: large-scale jitter from 0.1 to 2, a square cut out of
# it. data/coco holds annotations/ and the pictures, in folders or zips.
size = (1024, 1024)
load = dict(type='LoadImageFromFile')
augment = [
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomResize',
        scale=size,
        ratio_range=(0.1, 2.0),
        keep_ratio=True,
    ),
    # Where there are masks, boxes shrink to what is left of them.
    dict(
        type='RandomCrop',
        crop_size=size,
        allow_negative_crop=True,
        recompute_bbox=True,
    ),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type='Pad', size=size),
    dict(type='PackDetInputs'),
]
test = [
    load,
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='Pad', size=size),
    dict(type='PackDetInputs'),
]
boxes = dict(type='LoadAnnotations', with_bbox=True)
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='sparc_vlm.CocoBoxes',
        data_root='data/coco',
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017'),
        filter_cfg=dict(filter_empty_gt=False),
        pipeline=[load, boxes, *augment],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='sparc_vlm.CocoBoxes',
        data_root='data/coco',
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017'),
        test_mode=True,
        pipeline=test,
    ),
)
val_evaluator = dict(
    type='CocoMetric',
    ann_file='data/coco/annotations/instances_val2017.json',
)
val_cfg = dict(type='ValLoop')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type='TestLoop')
custom_hooks = [dict(type='NumClassCheckHook')]
