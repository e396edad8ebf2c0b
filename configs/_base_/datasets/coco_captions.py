# COCO captions: data/coco/annotations/captions_{train,val}.json with the
# pictures in zips beside them. --data names another place.
train_dataloader = dict(
    type='PairLoader',
    batch_size=256,
    num_workers=2,
    dataset=dict(
        type='PairDataset',
        source=dict(
            type='CocoCaptions',
            annotations='data/coco/annotations/captions_train.json',
            images='data/coco/images_train.zip',
        ),
        image_size=128,
        crop_scale=(0.6, 1.0),
    ),
)
val_dataloader = dict(batch_size=64)
held_out = dict(
    type='CocoCaptions',
    annotations='data/coco/annotations/captions_val.json',
    images='data/coco/images_val.zip',
)
val_evaluator = [dict(type='Retrieval', dataset=held_out)]
custom_hooks = [dict(type='AlignmentMapHook', dataset=held_out)]
val_cfg = dict(type='TaskLoop')
