# RTMDet, a small ViT on drawn scenes of 64 pixels: 450 updates of 16 pictures,
# an estimated 5 minutes on two cores.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/rtmdet_vitmini.py',
    '_base_/datasets/scenes_64.py',
    '_base_/schedules/adamw_450.py',
]
model = dict(bbox_head=dict(num_classes=120))
