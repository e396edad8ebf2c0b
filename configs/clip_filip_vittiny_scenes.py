# CLIP + FILIP, otherwise as sparc_vittiny_scenes.py.
_base_ = 'sparc_vittiny_scenes.py'
model = dict(
    objective=dict(_delete_=True, type='FILIP', global_weight=1.0),
)
