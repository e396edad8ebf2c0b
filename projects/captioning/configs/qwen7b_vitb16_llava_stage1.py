# Qwen2.5-7B looks with SPARC's ViT-B/16 at LLaVA's 558k captioned pictures,
# the first stage: the projector alone, 2,180 updates of 256 pictures.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/qwen7b_vitb16.py',
    '_base_/datasets/llava_pretrain.py',
    '_base_/schedules/llava_pretrain.py',
]
