# SmolLM2-135M looks at photographs of Flickr8k through 2 layers on a frozen
# EfficientNet, the second stage: the projector of the first and LoRA, 400
# updates of 16 pictures.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/smollm2_efficientlite0.py',
    '_base_/datasets/flickr8k.py',
    '_base_/schedules/stage2_400.py',
]
model = dict(
    language=dict(lora=dict(r=16, lora_alpha=32)),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='work_dirs/smollm2_efficientlite0_flickr8k_stage1/model',
    ),
)
