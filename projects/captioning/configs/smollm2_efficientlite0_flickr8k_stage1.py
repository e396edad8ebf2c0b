# SmolLM2-135M looks at photographs of Flickr8k through 2 layers on a frozen
# EfficientNet, the first stage: the projector alone, 300 updates of 16
# pictures.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/smollm2_efficientlite0.py',
    '_base_/datasets/flickr8k.py',
    '_base_/schedules/stage1_300.py',
]
