# SPARC, a small ViT from scratch on Flickr8k's 6000 pictures: 450 updates of
# 256 pairs, about half an hour on a CPU.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/sparc_vitsmall.py',
    '_base_/datasets/flickr8k.py',
    '_base_/schedules/adamw_450.py',
]
optim_wrapper = dict(optimizer=dict(weight_decay=0.2))
