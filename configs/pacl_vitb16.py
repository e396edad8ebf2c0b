# PACL, otherwise as sparc_vitb16.py: the same data, encoders, steps;
# only the vision adapter has PACL's residual branch.
_base_ = 'sparc_vitb16.py'
model = dict(
    vision_adapter='residual',
    objective=dict(_delete_=True, type='PACL'),
)
