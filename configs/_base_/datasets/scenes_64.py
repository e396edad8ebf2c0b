# Drawn scenes of 64 x 64 pixels, in batches for two cores.
_base_ = 'scenes.py'
train_dataloader = dict(
    batch_size=256, dataset=dict(source=dict(size=64), image_size=64)
)
held_out = dict(type='Scenes', split='val', size=64, num_images=1000)
val_evaluator = [
    dict(type='Retrieval', dataset=held_out),
    dict(type='Segmentation', dataset=held_out),
]
custom_hooks = [dict(type='AlignmentMapHook', dataset=held_out)]
