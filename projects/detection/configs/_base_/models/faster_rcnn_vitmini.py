# Faster R-CNN on the small ViT of drawn scenes.
_base_ = ['faster_rcnn_small.py', 'vitmini.py']
model = dict(backbone=_base_.mini, neck=_base_.mini_pyramid)
