# SPARC, ViT-L/14, 250k updates, otherwise the recipe of sparc_vitb16.py.
_base_ = 'sparc_vitb16.py'
model = dict(vision=dict(arch='large', patch_size=14))
train_cfg = dict(max_iters=250000)
