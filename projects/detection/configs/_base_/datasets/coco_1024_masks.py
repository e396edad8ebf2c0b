# As coco_1024.py, with the polygons of the objects, which stay polygons: a
# bitmap of each object of a picture of 2048 pixels takes much memory. Run
# lengths need poly2mask=True.
_base_ = 'coco_1024.py'
masks = dict(
    type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False
)
train_dataloader = dict(
    dataset=dict(pipeline=[_base_.load, masks, *_base_.augment])
)
val_evaluator = dict(type='sparc_vlm.OutlineMetric', metric=['bbox', 'segm'])
test_evaluator = val_evaluator
