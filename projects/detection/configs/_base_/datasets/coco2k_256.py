# As coco2k_128.py, at 256 pixels.
_base_ = 'coco2k_128.py'
size = (256, 256)
square = [
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='Pad', size=size, pad_val=dict(img=(114, 114, 114))),
]
train_dataloader = dict(
    dataset=dict(
        pipeline=[_base_.load, _base_.boxes, *square, *_base_.augment]
    )
)
val_dataloader = dict(
    dataset=dict(pipeline=[_base_.load, *square, dict(type='PackDetInputs')])
)
test_dataloader = val_dataloader
