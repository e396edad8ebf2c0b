# CLIP, otherwise as sparc_efficientlite0_flickr8k.py: the same data, encoders,
# steps.
_base_ = 'sparc_efficientlite0_flickr8k.py'
model = dict(objective=dict(_delete_=True, type='CLIP'))
