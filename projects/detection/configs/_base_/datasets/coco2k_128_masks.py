# As coco2k_128.py, on the pictures of data/coco2k that have polygons, 80 of
# COCO's train2017; they are validated on, too, as there are no others.
_base_ = 'coco2k_128.py'
masks = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
# Squares are the model's matter: where the pipeline pads, boxes may lie beside
# the picture, and MMDetection cannot draw their masks (on a CPU).
resize = _base_.square[0]
outlined = dict(
    ann_file='annotations/instances_masks80.json',
    data_prefix=dict(img='images_masks80.zip'),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[_base_.load, masks, resize, *_base_.augment],
        **outlined,
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[_base_.load, resize, dict(type='PackDetInputs')], **outlined
    )
)
val_evaluator = dict(
    type='sparc_vlm.OutlineMetric',
    ann_file='data/coco2k/annotations/instances_masks80.json',
    metric=['bbox', 'segm'],
)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
