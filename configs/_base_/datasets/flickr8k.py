# Flickr8k in Karpathy's split: data/flickr8k/dataset_flickr8k.json with the
# pictures beside it, in a folder or in zips. --data names another place.
_base_ = 'photographs.py'
annotations = 'data/flickr8k/dataset_flickr8k.json'
train = dict(
    type='KarpathyCaptions',
    annotations=annotations,
    images='data/flickr8k/images_train.zip',
    split='train',
)
held_out = dict(
    type='KarpathyCaptions',
    annotations=annotations,
    images='data/flickr8k/images_val.zip',
    split='val',
)
train_dataloader = dict(dataset=dict(source=train))
val_evaluator = [dict(type='Retrieval', dataset=held_out)]
custom_hooks = [dict(type='AlignmentMapHook', dataset=held_out)]
