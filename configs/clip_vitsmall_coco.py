# CLIP, otherwise as sparc_vitsmall_coco.py: the same data, encoders, steps.
_base_ = 'sparc_vitsmall_coco.py'
model = dict(objective=dict(_delete_=True, type='CLIP'))
