# Faster R-CNN, a small ViT on COCO's layout at 128 pixels: 250 updates of 16
# pictures.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/faster_rcnn_vitsmall.py',
    '_base_/datasets/coco2k_128.py',
    '_base_/schedules/adamw_450.py',
]
train_cfg = dict(max_iters=250, val_interval=250)
