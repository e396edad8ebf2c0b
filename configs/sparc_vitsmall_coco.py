# SPARC, a small ViT from scratch on a folder in COCO's layout: 450 updates of
# 256 pairs, about half an hour on a CPU.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/sparc_vitsmall.py',
    '_base_/datasets/coco_captions.py',
    '_base_/schedules/adamw_450.py',
]
optim_wrapper = dict(optimizer=dict(weight_decay=0.2))
