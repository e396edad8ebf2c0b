# Qwen2.5-7B looks with SPARC's ViT-B/16 at the pictures of LLaVA's 665k
# instructions, the second stage: the projector of the first and LoRA of rank
# 128, 4,880 updates of 128 pictures.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/qwen7b_vitb16.py',
    '_base_/datasets/llava_instruct.py',
    '_base_/schedules/llava_instruct.py',
]
model = dict(
    language=dict(lora=dict(r=128, lora_alpha=256, lora_dropout=0.05)),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='work_dirs/qwen7b_vitb16_llava_stage1/model',
    ),
)
