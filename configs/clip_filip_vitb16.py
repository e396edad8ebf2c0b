# CLIP + FILIP, otherwise as sparc_vitb16.py.
_base_ = 'sparc_vitb16.py'
model = dict(
    objective=dict(_delete_=True, type='FILIP', global_weight=1.0),
)
