# SmolLM2-135M looks at drawn scenes of 64 pixels with a small ViT, the
# first stage: the projector alone, 300 updates of 16 captions; questions come
# with the second.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/smollm2_vitmini.py',
    '_base_/datasets/scenes_64.py',
    '_base_/schedules/stage1_300.py',
]
train_dataloader = dict(dataset=dict(questions=0.0))
