# FILIP, otherwise as sparc_vitb16.py: the same data, encoders, steps.
_base_ = 'sparc_vitb16.py'
model = dict(objective=dict(_delete_=True, type='FILIP'))
