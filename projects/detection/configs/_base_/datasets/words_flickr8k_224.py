# Flickr8k's pictures in squares of 224 pixels with boxes of 219 nouns, one or
# four pictures in a square: data/flickr8k holds instances_{train,val}.json in
# COCO's layout, with LVIS's frequency, and the pictures in zips.
_base_ = 'words_scenes_64.py'
# As a mosaic of one picture, whatever the picture's shape.
square = [
    dict(type='Resize', scale=(224, 224), keep_ratio=True),
    dict(type='Pad', size=(224, 224), pad_val=dict(img=(114, 114, 114))),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(
            type='sparc_vlm.WordBoxes',
            annotations='data/flickr8k/instances_train.json',
            images='data/flickr8k/images_train.zip',
            pipeline=[
                _base_.load,
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='RandomFlip', prob=0.5),
            ],
        ),
        pipeline=[
            dict(
                type='sparc_vlm.GridMosaic',
                size=224,
                sizes=(1, 2),
                probabilities=(0.8, 0.2),
            ),
            dict(type='sparc_vlm.SampleWords', num_negatives=50),
            _base_.pack,
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        annotations='data/flickr8k/instances_val.json',
        images='data/flickr8k/images_val.zip',
        pipeline=[_base_.load, *square, _base_.pack],
    ),
)
val_evaluator = dict(ann_file='data/flickr8k/instances_val.json')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
