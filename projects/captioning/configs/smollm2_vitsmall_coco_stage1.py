# SmolLM2-135M looks at photographs of COCO with a small ViT, the
# first stage: the projector alone, 300 updates of 16 pictures.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/smollm2_vitsmall.py',
    '_base_/datasets/coco.py',
    '_base_/schedules/stage1_300.py',
]
