# RetinaNet, a small ViT on nouns of Flickr8k at 128 pixels: 250 updates of 16
# pictures, an estimated 5 minutes on two cores.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/retinanet_vitsmall.py',
    '_base_/datasets/flickr8k_128.py',
    '_base_/schedules/adamw_450.py',
]
model = dict(bbox_head=dict(num_classes=219))
train_cfg = dict(max_iters=250, val_interval=250)
