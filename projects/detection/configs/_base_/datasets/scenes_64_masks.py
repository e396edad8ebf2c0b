# As scenes_64.py, with the shapes of the objects, as run lengths.
_base_ = 'scenes_64.py'
masks = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
train_dataloader = dict(
    dataset=dict(pipeline=[_base_.load, masks, _base_.resize, *_base_.augment])
)
val_evaluator = dict(type='sparc_vlm.OutlineMetric', metric=['bbox', 'segm'])
test_evaluator = val_evaluator
