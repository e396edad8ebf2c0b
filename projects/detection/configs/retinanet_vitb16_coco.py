# RetinaNet, ViT-B/16 on COCO at 1024 pixels, the way of ViTDet: 184,375
# updates of 64 pictures, 16 GPUs of 4. Nobody has run it to the end here, so
# there is no number to expect.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/retinanet_vitb16.py',
    '_base_/datasets/coco_1024.py',
    '_base_/schedules/vitdet_100e.py',
]
