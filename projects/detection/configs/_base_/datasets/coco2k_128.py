# A small folder in COCO's layout at 128 pixels: data/coco2k holds
# annotations/ and the pictures, in zips as they come.
_base_ = 'scenes_64.py'
size = (128, 128)
# Squares, as batches of tall and wide pictures are anyway: alone, or beside
# others of its shape, a picture would be seen on another grid.
square = [
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='Pad', size=size, pad_val=dict(img=(114, 114, 114))),
]
train_dataloader = dict(
    dataset=dict(
        data_root='data/coco2k',
        data_prefix=dict(img='images_train.zip'),
        pipeline=[_base_.load, _base_.boxes, *square, *_base_.augment],
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root='data/coco2k',
        data_prefix=dict(img='images_val.zip'),
        pipeline=[_base_.load, *square, dict(type='PackDetInputs')],
    )
)
val_evaluator = dict(ann_file='data/coco2k/annotations/instances_val.json')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
