# Captions of Flickr8k in Karpathy's split: data/flickr8k, or --data.
train = dict(
    type='KarpathyCaptions',
    annotations='data/flickr8k/dataset_flickr8k.json',
    images='data/flickr8k/images_train.zip',
    split='train',
)
held_out = dict(
    type='KarpathyCaptions',
    annotations='data/flickr8k/dataset_flickr8k.json',
    images='data/flickr8k/images_val.zip',
    split='val',
)
train_dataloader = dict(
    type='PairLoader',
    batch_size=16,
    num_workers=1,
    group=8,
    dataset=dict(type='ChatDataset', source=train, chat=dict(max_length=160)),
)
custom_hooks = [dict(type='CaptionSampleHook', dataset=held_out)]
