# The paper's captioner: a Perceiver resampler between SPARC's ViT-B/16 and a
# language model, both frozen, on COCO's captions: 250,000 updates of 256
# pictures.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/models/perceiver_vitb16.py',
    '_base_/datasets/coco.py',
    '_base_/schedules/perceiver_250k.py',
]
train_dataloader = dict(batch_size=32, num_workers=4)
