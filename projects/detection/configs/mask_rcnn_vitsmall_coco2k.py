# Mask R-CNN, a small ViT on 80 pictures of COCO with polygons at 128 pixels:
# 250 updates of 16 pictures, an estimated 7 minutes on two cores. Validated on
# the same 80: its AP says that it learns, not what it is worth on others.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/mask_rcnn_vitsmall.py',
    '_base_/datasets/coco2k_128_masks.py',
    '_base_/schedules/adamw_450.py',
]
train_cfg = dict(max_iters=250, val_interval=250)
