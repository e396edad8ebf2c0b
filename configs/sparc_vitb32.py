# SPARC, ViT-B/32, otherwise the recipe of sparc_vitb16.py.
_base_ = 'sparc_vitb16.py'
model = dict(vision=dict(patch_size=32))
