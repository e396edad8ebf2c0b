# PACL, otherwise as sparc_vittiny_scenes.py: the same data, encoders, steps;
# only the vision adapter has PACL's residual branch.
_base_ = 'sparc_vittiny_scenes.py'
model = dict(
    vision_adapter='residual',
    objective=dict(_delete_=True, type='PACL'),
)
