# Flickr8k in Karpathy's split: data/flickr8k/dataset_flickr8k.json with the
# pictures beside it, in a folder or in zips. --data names another place.
train_dataloader = dict(
    type='PairLoader',
    batch_size=256,
    num_workers=2,
    dataset=dict(
        type='PairDataset',
        source=dict(
            type='KarpathyCaptions',
            annotations='data/flickr8k/dataset_flickr8k.json',
            images='data/flickr8k/images_train.zip',
            split='train',
        ),
        image_size=128,
        crop_scale=(0.6, 1.0),
    ),
)
val_dataloader = dict(batch_size=64)
held_out = dict(
    type='KarpathyCaptions',
    annotations='data/flickr8k/dataset_flickr8k.json',
    images='data/flickr8k/images_val.zip',
    split='val',
)
val_evaluator = [dict(type='Retrieval', dataset=held_out)]
custom_hooks = [dict(type='AlignmentMapHook', dataset=held_out)]
val_cfg = dict(type='TaskLoop')
