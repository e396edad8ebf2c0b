# SigLIP, otherwise as sparc_vittiny_scenes.py: the same data, encoders, steps.
_base_ = 'sparc_vittiny_scenes.py'
model = dict(objective=dict(_delete_=True, type='SigLIP'))
