# Captions of COCO: data/coco, or --data.
train = dict(
    type='CocoCaptions',
    annotations='data/coco/annotations/captions_train.json',
    images='data/coco/images_train.zip',
)
held_out = dict(
    type='CocoCaptions',
    annotations='data/coco/annotations/captions_val.json',
    images='data/coco/images_val.zip',
)
train_dataloader = dict(
    type='PairLoader',
    batch_size=16,
    num_workers=1,
    group=8,
    dataset=dict(type='ChatDataset', source=train, chat=dict(max_length=128)),
)
custom_hooks = [dict(type='CaptionSampleHook', dataset=held_out)]
