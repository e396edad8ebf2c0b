# SmolLM2-135M behind 2 layers on a frozen EfficientNet: 7 x 7 patches as 49
# tokens. The eyes are those of configs/sparc_efficientlite0_flickr8k.py.
_base_ = 'smollm2_vitmini.py'
model = dict(
    eyes=dict(checkpoint='work_dirs/sparc_efficientlite0_flickr8k/model'),
    projector=dict(_delete_=True, type='MLPProjector'),
)
