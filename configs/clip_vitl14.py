# CLIP, otherwise as sparc_vitl14.py: the same data, encoders, steps.
_base_ = 'sparc_vitl14.py'
model = dict(objective=dict(_delete_=True, type='CLIP'))
