"""Objectives on photographs, on ImageNet's weights, measured on val.

Data and tasks are those of photographs.py, named by FLICKR8K, COCO, ENTITIES
and COCO_MASKS of the environment in the same way. The trunk is frozen. What
it gives for a picture is computed before the first arm (minutes, 1.1 GB) and
kept in work_dirs/features for all that follow, and for measuring.
"""

_base_ = 'photographs.py'
title = "Objectives on photographs, on ImageNet's weights"
note = (
    "2 layers on a frozen EfficientNet-lite0 with ImageNet's weights, trained "
    'on Flickr8k and COCO captions at 224 pixels for 700 updates, each of a '
    'batch of 128 pairs of either; measured on their val splits.'
)
# About 1.2 s an update on two cores: a quarter of an hour with the rest.
steps = 700
options = {'train_cfg.val_interval': 700}
_sparc = 'configs/sparc_efficientlite0_flickr8k.py'
arms = [
    dict(name='CLIP', config='configs/clip_efficientlite0_flickr8k.py'),
    dict(name='SPARC', config=_sparc, options=_base_._swept),
    dict(
        name='SPARC+',
        config=_sparc,
        options=_base_._plus,
        note=_base_._beyond,
    ),
]
seeds = 3
