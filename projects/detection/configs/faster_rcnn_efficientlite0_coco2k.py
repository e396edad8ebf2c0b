# Faster R-CNN, a frozen EfficientNet under 2 layers, on 2000 pictures of COCO
# at 256 pixels: 1,200 updates of 4 pictures, minutes on two cores.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/faster_rcnn_efficientlite0.py',
    '_base_/datasets/coco2k_256.py',
    '_base_/schedules/adamw_450.py',
]
train_cfg = dict(max_iters=1200, val_interval=1200)
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=4)
