# Flickr8k's pictures at 128 pixels with boxes of 219 nouns: data/flickr8k
# holds instances_{train,val}.json in COCO's layout and the pictures in zips.
_base_ = 'coco2k_128.py'
train_dataloader = dict(
    dataset=dict(data_root='data/flickr8k', ann_file='instances_train.json')
)
val_dataloader = dict(
    dataset=dict(data_root='data/flickr8k', ann_file='instances_val.json')
)
val_evaluator = dict(ann_file='data/flickr8k/instances_val.json')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
