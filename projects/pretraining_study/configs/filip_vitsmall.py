# FILIP, otherwise as sparc_vitsmall_flickr8k.py: same data, encoders, steps.
_base_ = '../../../configs/sparc_vitsmall_flickr8k.py'
model = dict(objective=dict(_delete_=True, type='FILIP'))
