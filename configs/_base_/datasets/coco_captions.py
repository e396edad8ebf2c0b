# COCO captions: data/coco/annotations/captions_{train,val}.json with the
# pictures in zips beside them. --data names another place.
_base_ = 'photographs.py'
train = dict(
    type='CocoCaptions',
    annotations='data/coco/annotations/captions_train.json',
    images='data/coco/images_train.zip',
)
held_out = dict(
    type='CocoCaptions',
    annotations='data/coco/annotations/captions_val.json',
    images='data/coco/images_val.zip',
)
train_dataloader = dict(dataset=dict(source=train))
val_evaluator = [dict(type='Retrieval', dataset=held_out)]
custom_hooks = [dict(type='AlignmentMapHook', dataset=held_out)]
