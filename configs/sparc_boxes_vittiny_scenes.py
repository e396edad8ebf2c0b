# SPARC with boxes, otherwise as sparc_vittiny_scenes.py: a word that names an
# object may look at the patches in the object's box, every other anywhere.
_base_ = 'sparc_vittiny_scenes.py'
train_dataloader = dict(dataset=dict(patch_masks='boxes', patch_size=8))
