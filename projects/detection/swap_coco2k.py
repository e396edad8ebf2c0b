"""Faster R-CNN on 2000 pictures of COCO: what its backbone's start is worth.

As swap_scenes.py, begun with what the study of photographs trained on
ImageNet's weights: `python tools/compare.py
projects/pretraining_study/photographs_frozen.py --seeds 0`. PRETRAINED names
its work folder, if it is not work_dirs/photographs_frozen. A random start is
one of the layers alone; what is under them has ImageNet's weights in all.
"""

_pretrained = '{{$PRETRAINED:work_dirs/photographs_frozen}}'
custom_imports = dict(imports=['sparc_vlm.detection'])
title = 'Faster R-CNN on 2000 pictures of COCO, by the start of its backbone'
note = (
    "2 layers on a frozen EfficientNet with ImageNet's weights, under a "
    'simple feature pyramid, 1200 updates of 4 pictures of 256 pixels; '
    'one pretraining of each start, three detectors; measured on the val '
    'split.'
)
seeds = 3
# Not measured while training; how it reads pictures goes into the model.
options = {'train_cfg.val_begin': 10**9}
baseline = 'CLIP'
_config = 'projects/detection/configs/faster_rcnn_efficientlite0_coco2k.py'
_start = 'model.backbone.init_cfg.checkpoint'
_starts = {
    'random': {},
    'CLIP': {_start: f'{_pretrained}/clip/seed0/model'},
    'SPARC': {_start: f'{_pretrained}/sparc/seed0/model'},
}
_frozen = {'model.backbone.frozen_stages': 2}
arms = [
    *(
        dict(name=name, config=_config, options=start)
        for name, start in _starts.items()
    ),
    *(
        dict(name=f'{name}, frozen', config=_config, options=start | _frozen)
        for name, start in _starts.items()
    ),
]
tasks = [
    dict(
        type='BoxAP',
        annotations='data/coco2k/annotations/instances_val.json',
        images='data/coco2k/images_val.zip',
    )
]
