# Objects365 and Visual Genome at 768 pixels in grids of up to 3 x 3 pictures,
# without the names and synonyms of LVIS's rare group; LVIS's 1203 classes for
# validation. data/ holds the three as their authors hand them out.
lvis = 'data/lvis/lvis_v1_val.json'
rare = dict(frequency='r', annotations=lvis)
load = dict(type='LoadImageFromFile')
one = [
    load,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
]
pack = dict(
    type='PackDetInputs',
    meta_keys=(
        *('img_id', 'ori_shape', 'img_shape', 'scale_factor'),
        *('words', 'text', 'incomplete', 'report'),
    ),
)
objects365 = dict(
    type='sparc_vlm.WordBoxes',
    annotations='data/objects365/zhiyuan_objv2_train.json',
    images='data/objects365/train',
    leave_out=rare,
    pipeline=one,
)
visual_genome = dict(
    type='sparc_vlm.WordBoxes',
    annotations='data/visual_genome/objects.json',
    image_data='data/visual_genome/image_data.json',
    images='data/visual_genome/images',
    leave_out=rare,
    pipeline=one,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='MultiImageMixDataset',
        dataset=dict(
            type='ConcatDataset', datasets=[objects365, visual_genome]
        ),
        pipeline=[
            dict(type='sparc_vlm.GridMosaic', size=768),
            dict(
                type='sparc_vlm.SampleWords',
                num_negatives=50,
                templates=('{}', 'a photo of a {}', 'a picture of the {}'),
            ),
            pack,
        ],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='sparc_vlm.WordBoxes',
        annotations=lvis,
        images=['data/coco/train2017', 'data/coco/val2017'],
        test_mode=True,
        # As a mosaic of one picture, whatever the picture's shape.
        pipeline=[
            load,
            dict(type='Resize', scale=(768, 768), keep_ratio=True),
            dict(
                type='Pad', size=(768, 768), pad_val=dict(img=(114, 114, 114))
            ),
            pack,
        ],
    ),
)
val_evaluator = dict(type='LVISMetric', ann_file=lvis)
val_cfg = dict(type='ValLoop')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type='TestLoop')
custom_hooks = [dict(type='sparc_vlm.PictureReportHook')]
