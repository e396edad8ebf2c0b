# CLIP, otherwise as sparc_vitb32.py: the same data, encoders, steps.
_base_ = 'sparc_vitb32.py'
model = dict(objective=dict(_delete_=True, type='CLIP'))
