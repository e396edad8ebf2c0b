# FCOS, a small ViT on 2000 pictures of COCO at 128 pixels: 250 updates of 16
# pictures, an estimated 5 minutes on two cores.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/fcos_vitsmall.py',
    '_base_/datasets/coco2k_128.py',
    '_base_/schedules/adamw_450.py',
]
train_cfg = dict(max_iters=250, val_interval=250)
