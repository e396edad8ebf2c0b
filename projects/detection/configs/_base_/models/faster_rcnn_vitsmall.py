# Faster R-CNN on the small ViT of photographs.
_base_ = ['faster_rcnn_small.py', 'vitsmall.py']
model = dict(backbone=_base_.small, neck=_base_.small_pyramid)
