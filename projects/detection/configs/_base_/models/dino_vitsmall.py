# DINO on the small ViT of photographs, as dino_vitmini.py.
_base_ = ['dino_vitmini.py', 'vitsmall.py']
model = dict(backbone=_base_.small, neck=dict(in_channels=192, in_stride=16))
