# As coco_1024.py, with the polygons of the objects.
_base_ = 'coco_1024.py'
masks = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
train_dataloader = dict(
    dataset=dict(pipeline=[_base_.load, masks, *_base_.augment])
)
val_evaluator = dict(metric=['bbox', 'segm'])
